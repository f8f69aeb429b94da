/** Light or dark: as the system says, until the reader chooses. */
import { PALETTES, type Palette, type ThemeName } from "../surface/palette";

export type ThemeChoice = ThemeName | "system";
const STORED = "sightline.theme";

let choice = $state<ThemeChoice>("system");
let system = $state<ThemeName>("light");

export const theme = {
  get choice(): ThemeChoice {
    return choice;
  },
  get name(): ThemeName {
    return choice === "system" ? system : choice;
  },
  /** The colours to draw with; a drawing that reads this is redrawn when the theme changes. */
  get palette(): Palette {
    return PALETTES[choice === "system" ? system : choice];
  },
};

export function isTheme(value: string | null | undefined): value is ThemeChoice {
  return value === "light" || value === "dark" || value === "system";
}

/** The style sheet goes by the attribute alone, so that it needs its colours once. */
function paint(): void {
  document.documentElement.dataset.theme = theme.name;
}

export function setTheme(next: ThemeChoice, keep = true): void {
  choice = next;
  paint();
  if (!keep) return;
  try {
    localStorage.setItem(STORED, next);
  } catch {
    // without storage the choice holds for this page
  }
}

/** Takes up the stored choice (or `asked`, from the address) and follows the system. */
export function startTheme(asked?: string): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = (): void => {
    system = dark.matches ? "dark" : "light";
    paint();
  };
  follow();
  dark.addEventListener("change", follow);
  let before: string | null = null;
  try {
    before = localStorage.getItem(STORED);
  } catch {
    // a file page may have no storage
  }
  if (isTheme(asked)) setTheme(asked, false);
  else if (isTheme(before)) setTheme(before, false);
}
