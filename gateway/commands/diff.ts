// The diff command: what differs between the disks of two restore points.
import { InvalidArgumentError, Option, type Command } from 'commander'
import * as v from 'valibot'
import { granularity } from '../../protocol/changes.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Result } from '../../protocol/methods.ts'
import { print, printJson, printRows } from '../../protocol/host/output.ts'
import { tablePages } from '../../protocol/host/table.ts'
import { pointId, size, tenantOption, toGateway, type Common } from './options.ts'
import { withTenant, type Remote } from './remote.ts'
import { changeCells, CHANGE_HEADING, diskDifference, type DiskDifference } from './report-changes.ts'

interface DiffOptions extends Common {
  readonly disk?: string
  readonly fromDisk?: string
  readonly granularity?: number
  readonly summary: boolean
}

/** What stands for the empty disk before a first restore point. */
const NOTHING = 'none'

const older = (text: string): string | null => (text === NOTHING ? null : pointId(text))

const step = (text: string): number => {
  const bytes = v.safeParse(granularity, size(text))
  if (!bytes.success) throw new InvalidArgumentError('It takes a power of two, such as 64K, 1M or 4M.')
  return bytes.output
}

interface Compared {
  readonly from: string | null
  readonly to: string
  readonly disk: string
  readonly fromDisk: string | null
}

/** The disks that are compared: the one that is named, or all of the newer point, each with the older one's of its name. */
const comparedOf = async (
  { peer, signal }: Remote,
  from: string | null,
  to: string,
  { disk, fromDisk }: DiffOptions,
): Promise<Compared[]> => {
  if (disk !== undefined) return [{ from, to, disk, fromDisk: fromDisk ?? null }]
  const ask = (point: string) => peer.call('points.get', { point }, { signal })
  const [before, { point }] = [from === null ? null : await ask(from), await ask(to)]
  const had = new Set(before?.point.disks.map(({ name }) => name))
  return point.disks.map(({ name }) => ({ from: had.has(name) ? from : null, to, disk: name, fromDisk: null }))
}

/** Adds `diff`. */
export const addDiffCommand = (program: Command): void => {
  const command = program
    .command('diff')
    .description('show where the disks of two restore points differ; both are looked at no further than that')
    .argument('<older>', `the first characters of a restore point's id, or "${NOTHING}" for empty disks`, older)
    .argument('<newer>', 'of another one, of the same machine or not', pointId)
    .addOption(tenantOption())
    .option('--disk <name>', 'only this disk; else all of the newer restore point')
    .option('--from-disk <name>', 'its name in the older one; else the same')
    .addOption(
      new Option('--granularity <size>', "how finely, a power of two; else the tenant's chunks").argParser(step),
    )
    .option('--summary', 'only how much differs of each disk', false)
  toGateway(command).action(async (from: string | null, to: string, options: DiffOptions) => {
    if (options.fromDisk !== undefined && options.disk === undefined)
      throw new VarveError('PARAMS_INVALID', '--from-disk goes with --disk: name the disk of the newer one')
    const lines = tablePages(CHANGE_HEADING)
    const disks: DiskDifference[] = []
    await withTenant(options, async (remote) => {
      const { peer, signal } = remote
      printRows('ranges', [])
      for (const asked of await comparedOf(remote, from, to, options)) {
        const found = diskDifference(asked.disk)
        for (let offset: number | null = 0; offset !== null;) {
          const page: Result<'points.changes'> = await peer.call(
            'points.changes',
            { ...asked, offset, granularity: options.granularity ?? null },
            { signal },
          )
          found.add(page)
          const ranges = page.ranges.map((range) => ({ disk: asked.disk, ...range }))
          if (options.json && !options.summary) printRows('ranges', ranges)
          if (!options.json && !options.summary && ranges.length > 0) lines(ranges.map(changeCells)).forEach(print)
          offset = page.next
        }
        disks.push(found.told)
      }
    })
    printJson({ disks: disks.map(({ sentence: _, ...figures }) => figures) })
    if (!options.json) for (const disk of disks) print(disk.sentence)
  })
}
