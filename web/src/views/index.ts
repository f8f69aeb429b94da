/** The views, in the order of the navigation. The shell knows nothing else of them. */
import type { Component } from "svelte";
import type { Key } from "../i18n/index.svelte";
import Alignment from "./Alignment.svelte";
import Attention from "./Attention.svelte";
import ByHand from "./ByHand.svelte";
import Decoding from "./Decoding.svelte";
import Overview from "./Overview.svelte";
import { register } from "./registry";

export interface View {
  /** As in the address: `#/v1/<id>`. */
  id: string;
  title: Key;
  /** The key that opens it. */
  digit: string;
  component: Component;
  /** It is about attention alone: of a model without any it has nothing to show. */
  attends?: true;
}

export const VIEWS: readonly View[] = [
  { id: "overview", title: "overview.title", digit: "1", component: Overview },
  { id: "attention", title: "attention.title", digit: "2", component: Attention, attends: true },
  { id: "alignment", title: "alignment.title", digit: "3", component: Alignment, attends: true },
  { id: "hand", title: "hand.view", digit: "4", component: ByHand },
  { id: "decoding", title: "decoding.title", digit: "5", component: Decoding },
];

register(VIEWS.map((view) => view.id));
