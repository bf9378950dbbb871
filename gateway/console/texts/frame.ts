// The texts of the frame around the views and of the sign-in page, in English.
import { isolate } from './isolate.ts'

export const frame = {
  skip: 'Skip to the content',
  views: 'Views',
  signedInAs: (subject: string, role: string, tenant: string | null) =>
    `${subject} (${role}${tenant === null ? '' : ` of ${tenant}`})`,
  signOut: 'Sign out',
  settings: 'Display',
  theme: 'Colours',
  themes: { system: 'As the system', light: 'Light', dark: 'Dark' },
  zone: 'Times in',
  lost: (reason: string) => `No connection to the gateway: ${reason}.`,
  old: (age: string) => `What is shown is ${age} old or older.`,
  retryIn: (wait: string) => `The next attempt is in ${wait}.`,
  retrying: 'Connecting again.',
  retryNow: 'Try now',
  noView: 'There is no such view',
  noViewHint: 'The link may be from another version, or not for your role.',
  toFirst: 'Go to the first view',
  signIn: {
    title: 'Sign in',
    intro: 'Run this where the gateway runs, and open the link that it prints:',
    command: 'varve-gateway login',
    or: 'Or paste a token:',
    token: 'Token',
    keep: 'Stay signed in until this tab is closed',
    submit: 'Sign in',
    opening: 'Signing in…',
    ended: 'You are signed out.',
  },
  byLink: {
    title: 'Sign in with this link?',
    ends: (subject: string) => `It ends the session of ${isolate(subject)}.`,
    action: 'Sign in',
  },
  soon: (wait: string) => `This session ends ${wait}.`,
} as const
