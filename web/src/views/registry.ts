/** Which views there are, for those that link to each other: the list itself imports the views, so they cannot import it. */
const known = new Set<string>();

export function register(ids: readonly string[]): void {
  for (const id of ids) known.add(id);
}

export function has(id: string): boolean {
  return known.has(id);
}
