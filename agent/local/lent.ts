// What the agent and the commands of its host agree on: where, and for which calls, the agent lends its session.
import type { MethodName } from '../../protocol/methods.ts'
import type { AgentConfig } from '../config.ts'

export const COMMANDS_SOCKET = 'commands.sock'

/** What a backup's command calls; none of them moves the bytes of disks, which would take the agent's time. */
export type LentMethod = Extract<MethodName, 'backup.start' | 'jobs.watch' | 'jobs.cancel' | 'points.get'>

/** The parts of an agent's configuration that say which session is meant. */
export type Lender = Pick<AgentConfig, 'state' | 'gateway'>
