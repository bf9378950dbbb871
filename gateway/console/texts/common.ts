// The texts that all views share, in English.
import { isolate } from './isolate.ts'

export const common = {
  product: 'Varve',
  never: 'never',
  loading: 'Loading',
  tryAgain: 'Try again',
  unheard: 'It was sent, and may have been done: look before you ask for it again.',
  cancel: 'Cancel',
  keepRunning: 'Keep it running',
  close: 'Close',
  copy: 'Copy',
  copied: 'Copied',
  copyLabel: (what: string) => `Copy: ${what}`,
  asOf: (age: string) => `As of ${age}.`,
  typeToConfirm: (text: string) => `Type ${isolate(text)} to confirm`,
  none: 'none',
  yes: 'yes',
  no: 'no',
} as const
