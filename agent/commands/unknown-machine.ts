// Why the gateway does not know a machine as this agent's, and what to do: refused, not configured, or not announced yet.
import { VarveError } from '../../protocol/errors.ts'
import type { Result } from '../../protocol/methods.ts'
import { orElse } from '../../protocol/nearest.ts'
import { everyRow } from '../../protocol/paging.ts'
import { formerAgents } from '../former-identities.ts'
import { readRefusals } from '../refusals.ts'
import { isStateLocked } from '../state-lock.ts'
import type { IdentityRecord } from '../identity.ts'
import type { CommandContext } from './context.ts'
import { noMachine } from './no-machine.ts'

/** The agent that asks. */
type Asker = Pick<CommandContext, 'config'> & { readonly record: IdentityRecord }

/** The command that gives a machine to this agent. */
const assignment = (machine: string, { record }: Asker): string =>
  `"varve-gateway machine assign ${machine} --agent ${record.agentId} --tenant ${record.tenantName}"`

/**
 * NOT_FOUND for a name that is not in the configuration, EXISTS and the like for what the gateway refused, AGENT_OFFLINE
 * where the machine has not been announced yet.
 */
export const whyUnknown = async (machine: string, context: Asker): Promise<VarveError> => {
  const { config, record } = context
  if (!config.machines.some(({ name }) => name === machine)) return noMachine(machine, config.machines)
  const refusal = (await readRefusals(config.state, record.agentId)).find((one) => one.machine === machine)
  if (refusal !== undefined) {
    const way = refusal.code === 'EXISTS' ? `: ${assignment(machine, context)}` : ''
    return new VarveError(refusal.code, `refused by the gateway: ${refusal.message}${way}`)
  }
  if (await isStateLocked(config.state))
    return new VarveError(
      'AGENT_OFFLINE',
      `the gateway has not heard of ${machine} yet: "varve-agent run" is still connecting (see its log), or has not read the configuration since ${machine} was added: run "systemctl reload varve-agent", or send SIGHUP`,
    )
  const former = (await formerAgents(config.state)).length > 0
  const after = former
    ? `; this host used to be another agent, whose machines an owner must assign: ${assignment(machine, context)}`
    : ''
  return new VarveError(
    'AGENT_OFFLINE',
    `the gateway has not heard of ${machine} yet, because "varve-agent run" is not running on this host: start it${after}`,
  )
}

/** What the gateway says of a machine that cannot be asked, with what this host knows better. */
export const whyAway = async (machine: string, error: VarveError, context: Asker): Promise<VarveError> => {
  if (error.code === 'NOT_FOUND') return await whyUnknown(machine, context)
  if (error.code !== 'AGENT_OFFLINE' || !(await isStateLocked(context.config.state))) return error
  const sentence =
    '"varve-agent run" is running on this host, but is not connected to the gateway: wait a moment, or see its log'
  return new VarveError('AGENT_OFFLINE', sentence)
}

/** All machines that the gateway has of this agent, or of a person's tenant. */
export const allMachines = ({ ask }: Pick<CommandContext, 'ask'>): Promise<Result<'machines.list'>['machines']> =>
  everyRow(
    (after) => ask('machines.list', { after }),
    (page) => page.machines,
  )

/** Why the gateway has no machine of this name: refused, not announced yet, or a wrong name. */
export const unknownMachine = async (context: CommandContext, machine: string): Promise<VarveError> => {
  const { config, record } = context
  if (record !== null && config.machines.some(({ name }) => name === machine))
    return await whyUnknown(machine, { config, record })
  const known = await allMachines(context)
  const names = [...new Set([...config.machines, ...known].map(({ name }) => name))]
  const has = record === null ? 'this tenant has' : 'this agent has'
  return new VarveError('NOT_FOUND', `there is no machine "${machine}"; ${orElse(machine, names, has)}`)
}
