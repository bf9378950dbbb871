// The gauges of machines as text: there may be very many, so they are written in portions between which other work goes on.
import { setImmediate as turn } from 'node:timers/promises'

/** Machines whose gauges are given; those of further ones are left out, and counted. */
export const SHOWN_MACHINES_MAX = 20_000

/** Machines that are written without a pause: some milliseconds. */
const PORTION = 500

/** One machine; what is not known, or does not apply, is null. */
export interface MachineFigures {
  readonly tenant: string
  readonly machine: string
  readonly lastPointMs: number | null
  readonly rpoMs: number | null
  readonly deadlineMs: number | null
  readonly verifiedMs: number | null
  readonly state: string | null
}

interface Family {
  readonly name: string
  readonly help: string
  /** Value, with what follows the labels of tenant and machine; null for none. */
  readonly of: (machine: MachineFigures) => readonly [labels: string, value: number] | null
}

const secondsOf =
  (ms: (machine: MachineFigures) => number | null): Family['of'] =>
  (machine) => {
    const value = ms(machine)
    return value === null ? null : ['', value / 1000]
  }

const FAMILIES: readonly Family[] = [
  {
    name: 'varve_machine_state',
    help: 'The state of a machine, as "coverage" shows it: 1 for the one that holds.',
    of: ({ state }) => (state === null ? null : [`,state="${state}"`, 1]),
  },
  {
    name: 'varve_machine_last_point_timestamp_seconds',
    help: 'Instant of the newest restore point, in seconds since 1970.',
    of: secondsOf(({ lastPointMs }) => lastPointMs),
  },
  {
    name: 'varve_machine_deadline_timestamp_seconds',
    help: 'When the next restore point has to be there for the machine to be fresh.',
    of: secondsOf(({ deadlineMs }) => deadlineMs),
  },
  {
    name: 'varve_machine_rpo_seconds',
    help: 'Freshness target of the plan of a machine, where it names one.',
    of: secondsOf(({ rpoMs }) => rpoMs),
  },
  {
    name: 'varve_machine_last_verified_timestamp_seconds',
    help: 'When a restore point of the machine was last read again and found whole.',
    of: secondsOf(({ verifiedMs }) => verifiedMs),
  },
]

/** Names of the gauges of machines. */
export const MACHINE_GAUGES = FAMILIES.map(({ name }) => name)

/** A value within the quotes of a label. */
export const labelText = (value: string): string =>
  value.replace(/[\\"\n]/gu, (char) => (char === '\n' ? String.raw`\n` : `\\${char}`))

/** The text of all gauges of these machines; the samples of a gauge stand together. Nothing where there is no machine. */
export const machineLines = async (machines: readonly MachineFigures[]): Promise<string> => {
  const texts = FAMILIES.map(({ name, help }) => `# HELP ${name} ${help}\n# TYPE ${name} gauge\n`)
  for (let first = 0; first < machines.length; first += PORTION) {
    if (first > 0) await turn()
    for (const machine of machines.slice(first, first + PORTION)) {
      const labels = `{tenant="${labelText(machine.tenant)}",machine="${labelText(machine.machine)}"`
      for (const [index, { name, of }] of FAMILIES.entries()) {
        const found = of(machine)
        if (found !== null) texts[index] += `${name}${labels}${found[0]}} ${found[1]}\n`
      }
    }
  }
  return texts.join('')
}
