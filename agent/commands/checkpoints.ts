// The checkpoints of a machine, asked of the running agent through the gateway.
import { asVarveError } from '../../protocol/errors.ts'
import { checkpointLines } from '../../protocol/host/machine-report.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { withGateway } from './context.ts'
import { noMachine } from './no-machine.ts'
import { whyAway } from './unknown-machine.ts'

interface CheckpointsCommand {
  readonly config: string
  readonly timeout?: number
  readonly json: boolean
}

export const checkpoints = (machine: string, options: CheckpointsCommand): Promise<void> =>
  withGateway(
    options.config,
    async (context) => {
      const { config, ask } = context
      if (!config.machines.some(({ name }) => name === machine)) throw noMachine(machine, config.machines)
      try {
        const found = await ask('machines.checkpoints', { machine })
        if (options.json) return printJson({ machine, ...found })
        checkpointLines(machine, found).forEach(print)
      } catch (thrown) {
        throw await whyAway(machine, asVarveError(thrown), context)
      }
    },
    { ...options, machines: true },
  )
