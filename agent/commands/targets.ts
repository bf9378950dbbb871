// The targets command: who reads a machine with leases, and the end of one of them.
import { utcText } from '../../protocol/host/instant.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { tableLines } from '../../protocol/host/table.ts'
import { noMachine } from './no-machine.ts'
import { withGateway } from './context.ts'

export interface TargetsCommand {
  readonly config: string
  readonly remove?: string
  readonly timeout?: number
  readonly json: boolean
}

export const targets = (machine: string, options: TargetsCommand): Promise<void> =>
  withGateway(
    options.config,
    async (context) => {
      const { config, ask } = context
      const { remove, json } = options
      if (!config.machines.some(({ name }) => name === machine)) throw noMachine(machine, config.machines)
      if (remove !== undefined) await ask('machines.removeTarget', { machine, target: remove })
      const found = await ask('machines.targets', { machine })
      if (json) return printJson({ machine, ...found })
      if (remove !== undefined) print(`Target ${remove} of ${machine} is forgotten, and its bitmaps are removed.`)
      if (found.targets.length === 0) return print(`Machine ${machine} has no targets.`)
      const rows = found.targets.map(({ target, last, held }) => [
        target,
        last === null ? '-' : utcText(last.timeMs),
        held === null ? '-' : `${held.lease.slice(0, 8)}, until ${utcText(held.expiresMs)}`,
      ])
      tableLines(['TARGET', 'LAST SUCCESS (UTC)', 'HOLDS A LEASE'], rows).forEach(print)
    },
    { machines: true, ...options },
  )
