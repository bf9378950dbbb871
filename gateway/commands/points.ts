// Commands about restore points: list and show them, show what is lost, hold and lock.
import { InvalidArgumentError, Option, type Command } from 'commander'
import { durationMs } from '../../protocol/host/duration.ts'
import { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { instantMs } from '../../protocol/host/instant.ts'
import type { Moment } from '../../protocol/host/moment.ts'
import { pointReport } from '../../protocol/host/job-report.ts'
import { drillText } from '../../protocol/host/drill-report.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { printList } from './listing.ts'
import { machineOption, pointId, rowsOption, tenantOption, toGateway, type Common } from './options.ts'
import { withTenant } from './remote.ts'
import { atOption, namedPoint, POINT, pointFor } from './which-point.ts'
import { holdLine, POINT_HEADING, pointCells, timeText } from './report-points.ts'

/** Milliseconds since 1970 of a date, a date with time, or a duration from now. */
export const timeOf = (text: string, nowMs: number): number => {
  if (/^\d+[smhd]$/u.test(text)) return nowMs + durationMs(text)
  // a time without a zone would be the caller's local time
  const timeMs = instantMs(text, true)
  if (timeMs === null)
    throw new InvalidArgumentError('It is not a time such as 2027-01-31, 2027-01-31T12:00Z or 90d (from now).')
  return timeMs
}

const addPoints = (program: Command): void => {
  const command = program
    .command('points')
    .description("list a tenant's restore points, newest first")
    .addOption(tenantOption())
    .addOption(machineOption('only those of this machine'))
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { machine?: string; limit?: number }) =>
    withTenant(options, ({ peer, signal }) =>
      printList(options, (after) => peer.call('points.list', { machine: options.machine ?? null, after }, { signal }), {
        field: 'points',
        rowsOf: ({ points }) => points,
        heading: POINT_HEADING,
        cells: (point) => pointCells(point, systemClock.now()),
        none: options.machine === undefined ? 'No restore points yet.' : `No restore points of ${options.machine} yet.`,
      }),
    ),
  )
}

const addShow = (points: Command): void => {
  const command = points
    .command('show')
    .description("show a restore point with its disks, attachments and, with --json, the machine's configuration")
    .argument('<point>', POINT)
    .addOption(atOption())
    .addOption(tenantOption())
  toGateway(command).action(async (text: string, options: Common & { at?: Moment }) => {
    const named = namedPoint(text, options.at)
    const shown = await withTenant(options, async (remote) => {
      const point = await pointFor(remote, named, options.at)
      return await remote.peer.call('points.get', { point }, { signal: remote.signal })
    })
    printJson(shown)
    if (options.json) return
    const { id, timeMs, attachments } = shown.point
    const [first, ...more] = pointReport(shown.point, shown.missing)
    for (const line of [first!, `  id ${id}, made at ${timeText(timeMs)} UTC`, ...more]) print(line)
    for (const { name, size } of attachments) print(`  attachment ${name}: ${sizeText(size)}`)
    print(holdLine(shown.point, systemClock.now()))
    if (shown.point.drill !== null) print(`Last drill: ${drillText(shown.point.drill)} UTC.`)
  })
}

const addLost = (points: Command): void => {
  const command = points
    .command('lost')
    .description('list the ranges of a restore point that are known to be unreadable')
    .argument('<point>', 'the first characters of its id', pointId)
    .addOption(tenantOption())
    .addOption(rowsOption())
  toGateway(command).action((point: string, options: Common & { limit?: number }) =>
    withTenant(options, ({ peer, signal }) =>
      printList(options, (after) => peer.call('points.lost', { point, after }, { signal }), {
        field: 'lost',
        rowsOf: ({ lost }) => lost,
        heading: ['MACHINE', 'TIME (UTC)', 'POINT', 'DISK', 'LOST FROM', 'BYTES'],
        cells: ({ machine, timeMs, point: id, disk, offset, length }) => [
          machine,
          timeText(timeMs),
          id,
          disk,
          String(offset),
          String(length),
        ],
        none: 'No part of it is known to be lost.',
      }),
    ),
  )
}

const addHold = (program: Command): void => {
  const command = program
    .command('hold')
    .description('hold a restore point until it is released, or lock it until a time; a lock cannot be shortened')
    .argument('<point>', 'the first characters of its id', pointId)
    .addOption(tenantOption())
    .addOption(
      new Option('--until <time>', 'lock it until then: a date, a date with time and zone, or a duration').argParser(
        (text) => timeOf(text, systemClock.now()),
      ),
    )
    .option('--release', 'release it; a lock stays', false)
  toGateway(command).action(async (point: string, options: Common & { until?: number; release: boolean }) => {
    const { until, release, json } = options
    if (release && until !== undefined)
      throw new VarveError('PARAMS_INVALID', 'a lock cannot be released: give --until or --release')
    const done = await withTenant(options, ({ peer, signal }) =>
      until === undefined
        ? peer.call('points.hold', { point, held: !release }, { signal })
        : peer.call('points.lock', { point, untilMs: until }, { signal }),
    )
    printJson(done)
    if (!json) print(holdLine(done.point, systemClock.now()))
  })
}

/** Adds `points`, `point` and `hold`. */
export const addPointCommands = (program: Command): void => {
  addPoints(program)
  const point = program.command('point').description('show one restore point')
  addShow(point)
  addLost(point)
  addHold(program)
}
