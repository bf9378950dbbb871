// The commands that look: machines, status and points.
import { asVarveError } from '../../protocol/errors.ts'
import type { MachineStatus } from '../../protocol/methods.ts'
import type { Point, PointCursor } from '../../protocol/schemas.ts'
import { withGateway } from './context.ts'
import { localTime, print, printJson, printTable, size } from './output.ts'

/** Restore points asked for at once: a page of machines with many disks must still fit a frame. */
const PAGE_POINTS = 100

interface ListCommand {
  readonly config: string
  readonly json: boolean
}

export const machines = (options: ListCommand): Promise<void> =>
  withGateway(options.config, async ({ link }) => {
    const { machines: rows } = await link.call('machines.list', {})
    if (options.json) return printJson({ machines: rows })
    printTable(
      ['MACHINE', 'AGENT', 'BACKUP', 'LAST POINT', 'CONSISTENCY'],
      rows.map(({ name, online, job, lastPoint, policy }) => [
        name,
        online ? 'connected' : 'away',
        job === null ? '-' : `running (${job.slice(0, 8)})`,
        lastPoint === null ? 'never' : `${lastPoint.id.slice(0, 8)} ${localTime(lastPoint.timeMs)}`,
        policy.consistency,
      ]),
    )
  })

/** How each machine is now, asked of the running agent through the gateway. */
export const status = (options: ListCommand): Promise<void> =>
  withGateway(options.config, async ({ config, link }) => {
    const rows: MachineStatus[] = []
    let problem: string | null = null
    for (const { name } of config.machines) {
      try {
        rows.push(await link.call('machines.status', { machine: name }))
      } catch (thrown) {
        problem = asVarveError(thrown).message
        rows.push({ name, qmp: 'down', status: null, qemu: null, lease: null, problem, disks: [], leftOut: [] })
      }
    }
    const { machines: known } = await link.call('machines.list', {})
    const connected = known.some(({ online }) => online)
    if (options.json) return printJson({ gateway: config.gateway, running: connected, machines: rows })
    print(
      `Gateway ${config.gateway}: reachable. Agent: ${connected ? 'running' : 'not running; start it with "varve-agent run"'}.`,
    )
    for (const row of rows) {
      const how =
        row.problem ??
        `QEMU ${row.qemu}, ${row.status}${row.lease === null ? '' : `, backup ${row.lease.slice(0, 8)} running`}`
      print(`${row.name}: ${how}`)
      for (const disk of row.disks) print(`  ${disk.name}: ${size(disk.size)} ${disk.format}`)
      for (const { name, reason } of row.leftOut) print(`  ${name}: left out (${reason})`)
    }
  })

/** All restore points, newest first, page by page. */
export const points = (machine: string | undefined, options: ListCommand): Promise<void> =>
  withGateway(options.config, async ({ link }) => {
    const rows: Point[] = []
    let before: PointCursor | null = null
    while (true) {
      const page: Point[] = (await link.call('points.list', { machine: machine ?? null, before, limit: PAGE_POINTS }))
        .points
      rows.push(...page)
      const last = page.at(-1)
      if (page.length < PAGE_POINTS || last === undefined) break
      before = { timeMs: last.timeMs, id: last.id }
    }
    if (options.json) return printJson({ points: rows })
    if (rows.length === 0) return print('No restore points yet.')
    printTable(
      ['POINT', 'MACHINE', 'TIME (UTC)', 'KIND', 'REASON', 'CONSISTENCY', 'STORED', 'DISKS'],
      rows.map(({ id, machine: name, timeMs, future, kind, reason, consistency, bytesStored, disks }) => [
        id.slice(0, 8),
        name,
        `${localTime(timeMs)}${future ? ' (in the future)' : ''}`,
        kind,
        reason,
        consistency,
        size(bytesStored),
        disks.map((disk) => `${disk.name} ${size(disk.size)}`).join(', '),
      ]),
    )
  })
