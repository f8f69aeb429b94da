/** What is said to those who do not see the screen, politely: the newest message alone. */
let message = $state("");

export const live = {
  get message(): string {
    return message;
  },
};

export function announce(text: string): void {
  message = text;
}
