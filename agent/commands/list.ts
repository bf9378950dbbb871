// The commands that only read: machines, status and points.
import * as v from 'valibot'
import { kindText } from '../../protocol/backup.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { statusLines } from '../../protocol/host/machine-report.ts'
import type { MachineStatus } from '../../protocol/methods.ts'
import { drillText } from '../../protocol/host/drill-report.ts'
import { PAGE_POINTS } from '../../protocol/host/point-at.ts'
import { everyRow } from '../../protocol/paging.ts'
import { name as nameSchema, type Point } from '../../protocol/schemas.ts'
import { readConfig } from '../config.ts'
import { askAgent } from '../status/ask-status.ts'
import { agentLines } from '../status/status-lines.ts'
import { isStateLocked } from '../state-lock.ts'
import { withAnyGateway, withGateway, type CommandContext } from './context.ts'
import type { Moment } from '../../protocol/host/moment.ts'
import { noMachine } from './no-machine.ts'
import { print, printJson, printTable } from '../../protocol/host/output.ts'
import { utcText } from '../../protocol/host/instant.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { allMachines, unknownMachine, whyAway, whyUnknown } from './unknown-machine.ts'
import type { WayOptions } from './way.ts'
import { pointAt } from './which-point.ts'

interface ListCommand {
  readonly config: string
  readonly timeout?: number
  readonly json: boolean
}

interface AnyListCommand extends WayOptions {
  readonly timeout?: number
  readonly json: boolean
}

interface StatusCommand extends ListCommand {
  /** Asks the agent on this host only, whether its gateway can be reached or not. */
  readonly local: boolean
}

export const machines = (options: AnyListCommand): Promise<void> =>
  withAnyGateway(
    options,
    async (context) => {
      const { config, record } = context
      const rows = await allMachines(context)
      for (const { name } of config.machines)
        if (record !== null && !rows.some((row) => row.name === name))
          process.stderr.write(`varve-agent: ${name}: ${(await whyUnknown(name, { config, record })).message}\n`)
      if (options.json) return printJson({ machines: rows })
      // an agent's machines are of its host
      const hosts = record === null
      printTable(
        ['MACHINE', ...(hosts ? ['HOST'] : []), 'AGENT', 'BACKUP', 'LAST POINT', 'CONSISTENCY'],
        rows.map(({ name, host, online, job, lastPoint, policy }) => [
          name,
          ...(hosts ? [host] : []),
          online ? 'connected' : 'away',
          job === null ? '-' : `running (${job.slice(0, 8)})`,
          lastPoint === null ? 'never' : `${lastPoint.id.slice(0, 8)} ${utcText(lastPoint.timeMs)}`,
          policy.consistency,
        ]),
      )
    },
    { ...options, machines: true },
  )

/** The problem of a machine that is this agent's but not in its configuration. */
const NOT_CONFIGURED = "no longer in this host's configuration; its restore points stay at the gateway"

/** A machine that cannot be asked, with why. */
const unknownState = (name: string, problem: string): MachineStatus => ({
  name,
  reachable: false,
  runState: null,
  hypervisor: null,
  lease: null,
  target: null,
  problem,
  disks: [],
  leftOut: [],
})

/** The state of the agent on this host; AGENT_OFFLINE where none answers this user. */
const localStatus = async ({ config: file, json }: StatusCommand): Promise<void> => {
  const { state } = await readConfig(file)
  const agent = await askAgent(state)
  if (agent === null)
    throw new VarveError(
      'AGENT_OFFLINE',
      `no agent with the state folder ${state} answers on this host: start it ("varve-agent run"), or ask as its own user`,
    )
  if (json) return printJson({ agent })
  agentLines(agent).forEach(print)
}

/** The state of each machine, or one of them, asked of the running agent through the gateway. */
export const status = async (machine: string | undefined, options: StatusCommand): Promise<void> => {
  if (options.local) return await localStatus(options)
  await withGateway(
    options.config,
    async (context) => {
      const { config, ask, concerns } = context
      const asked = config.machines.filter(({ name }) => machine === undefined || name === machine)
      if (machine !== undefined && asked.length === 0) throw noMachine(machine, config.machines)
      const rows: MachineStatus[] = []
      for (const { name } of asked) {
        try {
          rows.push(await ask('machines.status', { machine: name }))
        } catch (thrown) {
          const error = asVarveError(thrown)
          const { message } = await whyAway(name, error, context)
          rows.push(unknownState(name, message))
        }
      }
      const known = await allMachines(context)
      for (const { name } of machine === undefined ? known : [])
        if (!rows.some((row) => row.name === name)) rows.push(unknownState(name, NOT_CONFIGURED))
      const connected = known.some(({ online }) => online) || (await isStateLocked(config.state))
      const agent = await askAgent(config.state)
      if (options.json)
        return printJson({ gateway: config.gateway, running: connected, concerns, agent, machines: rows })
      print(
        `Gateway ${config.gateway}: reachable. Agent: ${connected ? 'running' : 'not running; start it with "varve-agent run"'}.`,
      )
      for (const concern of concerns) print(`Warning: ${concern}.`)
      if (agent !== null && machine === undefined) agentLines(agent).forEach(print)
      for (const row of rows) statusLines(row).forEach(print)
    },
    { ...options, machines: true },
  )
}

/** A page of restore points at a time, newest first. */
const allPoints = ({ ask }: CommandContext, machine: string | null): Promise<Point[]> =>
  everyRow(
    (after) => ask('points.list', { machine, after, limit: PAGE_POINTS }),
    (page) => page.points,
  )

/** The points of one machine; of one that the gateway does not know, why. */
const pointsOf = async (context: CommandContext, machine: string): Promise<Point[]> => {
  if (!v.is(nameSchema, machine)) throw await unknownMachine(context, machine)
  try {
    return await allPoints(context, machine)
  } catch (thrown) {
    throw asVarveError(thrown).code === 'NOT_FOUND' ? await unknownMachine(context, machine) : thrown
  }
}

/** Attachments that a line of the table names. */
const NAMED_MAX = 3

const attachedText = (attachments: Point['attachments'], missing: number): string => {
  const named = attachments.slice(0, NAMED_MAX).map(({ name, size }) => `${name} ${sizeText(size)}`)
  const more = attachments.length - named.length
  const all = [...named, ...(more > 0 ? [`${more} more`] : []), ...(missing > 0 ? [`${missing} missing`] : [])]
  return all.join(', ') || '-'
}

interface PointsCommand extends AnyListCommand {
  readonly at?: Moment
}

/** The points that are asked for, newest first; one of them where a time is given. */
const chosenPoints = async (
  context: CommandContext,
  machine: string | undefined,
  at: Moment | undefined,
): Promise<Point[]> => {
  if (machine === undefined) return await allPoints(context, null)
  return at === undefined ? await pointsOf(context, machine) : [await pointAt(context, machine, at)]
}

/** All restore points, newest first, page by page; or the one that --at means. */
export const points = async (machine: string | undefined, options: PointsCommand): Promise<void> => {
  const { at } = options
  if (at !== undefined && machine === undefined)
    throw new VarveError('PARAMS_INVALID', '--at goes with the name of a machine')
  await withAnyGateway(
    options,
    async (context) => {
      const rows = await chosenPoints(context, machine, at)
      if (options.json) return printJson({ points: rows })
      if (rows.length === 0) return print('No restore points yet.')
      printTable(
        ['POINT', 'MACHINE', 'TIME (UTC)', 'READ', 'CONSISTENCY', 'STORED', 'DRILL', 'DISKS', 'ATTACHMENTS'],
        rows.map(({ id, machine: name, timeMs, future, consistency, bytesStored, drill, disks, ...point }) => [
          id.slice(0, 8),
          name,
          `${utcText(timeMs)}${future ? ' (in the future)' : ''}`,
          kindText(disks),
          consistency,
          sizeText(bytesStored),
          drillText(drill),
          disks.map((disk) => `${disk.name} ${sizeText(disk.size)}`).join(', '),
          attachedText(point.attachments, point.missingAttachments),
        ]),
      )
    },
    { ...options, machines: true },
  )
}
