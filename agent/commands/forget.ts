// The forget command: removes Varve's checkpoints from a machine, through the running agent or without one.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { forgottenLines, leftError } from '../../protocol/host/machine-report.ts'
import type { Forgotten } from '../../protocol/methods.ts'
import type { AgentConfig } from '../config.ts'
import { readHostConfig } from '../discover/host-config.ts'
import { withGateway } from './context.ts'
import { machineOf, openDirect } from './direct.ts'
import { interruption } from '../../protocol/host/interruption.ts'
import { orAbort } from '../../protocol/host/within.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { whyUnknown } from './unknown-machine.ts'

export interface ForgetCommand {
  readonly config: string
  readonly disk?: string
  readonly timeout?: number
  readonly json: boolean
}

/** The agent that runs may have the only connection that a machine takes, so it is asked where there is one. */
const forgetDisks = async (
  config: AgentConfig,
  file: string,
  machine: string,
  disk: string | null,
  timeout: number | undefined,
): Promise<Forgotten> => {
  const { signal } = interruption()
  await using direct = await openDirect(config)
  const wanted = machineOf(config, machine)
  if (direct !== null) return await orAbort(direct.drivers.forget(wanted, disk), signal)
  return await withGateway(
    file,
    async (context) => {
      try {
        return await context.ask('machines.forget', { machine, disk })
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (error.code !== 'NOT_FOUND' || error.message !== `there is no machine "${machine}"`) throw error
        const { code, message } = await whyUnknown(machine, context)
        throw new VarveError(code, `${message}; or stop "varve-agent run": without it, forget works on its own`)
      }
    },
    { machines: true, ...(timeout === undefined ? {} : { timeout }) },
  )
}

export const forget = async (machine: string, options: ForgetCommand): Promise<void> => {
  const config = await readHostConfig(options.config)
  machineOf(config, machine)
  const forgotten = await forgetDisks(config, options.config, machine, options.disk ?? null, options.timeout)
  printJson({ machine, ...forgotten })
  if (!options.json) forgottenLines(machine, options.disk ?? null, forgotten).forEach(print)
  const error = leftError(forgotten)
  if (error !== null) throw error
}
