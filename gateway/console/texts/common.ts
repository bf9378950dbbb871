// The texts that all views share, in English.

export const common = {
  product: 'Varve',
  never: 'never',
  loading: 'Loading',
  tryAgain: 'Try again',
  cancel: 'Cancel',
  close: 'Close',
  copy: 'Copy',
  copied: 'Copied',
  copyLabel: (what: string) => `Copy: ${what}`,
  asOf: (age: string) => `As of ${age}.`,
  typeToConfirm: (text: string) => `Type ${text} to confirm`,
  none: 'none',
  yes: 'yes',
  no: 'no',
} as const
