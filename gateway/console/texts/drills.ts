// The texts about drills, in English.
import type { DrillVerdict } from '../../../protocol/schemas.ts'
import { isolate } from './isolate.ts'

export const drills = {
  title: 'Drills',
  none: 'It was never tried whether this point boots. At a host of this machine, as root:',
  verdicts: { passed: 'boots', failed: 'does not boot' } satisfies Record<DrillVerdict, string>,
  badges: { passed: 'boots', failed: 'does not boot' } satisfies Record<DrillVerdict, string>,
  by: (host: string, subject: string) => `on ${isolate(host)} by ${isolate(subject)}`,
  fields: {
    check: 'Check',
    firmware: 'Firmware began after',
    evidence: 'Evidence came after',
    took: 'Took in all',
    how: 'Run with',
    received: 'Came from the gateway',
    wrote: 'The guest wrote',
  },
  limit: (time: string, limit: string) => `${time}, of ${limit} at most`,
  noEvidence: (limit: string) => `never, within ${limit}`,
  never: 'never',
  how: (accelerator: string, memory: string, cpus: number) =>
    `${accelerator}, ${memory} of memory, ${cpus} ${cpus === 1 ? 'processor' : 'processors'}`,
  accelerators: { kvm: 'KVM', tcg: 'emulation, many times slower' },
  unlike: 'Not as the machine is:',
  seen: 'Screen and serial console',
  picture: (machine: string) => `What ${isolate(machine)} showed on its screen at the end`,
  noPicture: 'There is no picture of its screen.',
  log: 'The end of its serial console',
  noLog: 'Nothing came from its serial console.',
} as const
