// Commands about drills: what came of those that agents and people have made.
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { drillLines } from '../../protocol/host/drill-report.ts'
import { fileError } from '../../protocol/host/file-error.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { VarveError } from '../../protocol/errors.ts'
import { printList } from './listing.ts'
import { machineOption, rowsOption, tenantOption, toGateway, wholeId, type Common } from './options.ts'
import { withTenant } from './remote.ts'
import { timeText } from './report-points.ts'

const addList = (drills: Command): void => {
  const command = drills
    .command('list')
    .description('list the drills of restore points, newest first; "varve-agent drill" makes one')
    .addOption(tenantOption())
    .addOption(machineOption('only those of this machine'))
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { machine?: string; limit?: number }) =>
    withTenant(options, ({ peer, signal }) => {
      const { machine = null } = options
      return printList(options, (after) => peer.call('drills.list', { machine, after }, { signal }), {
        field: 'drills',
        rowsOf: (page) => page.drills,
        heading: ['DRILL', 'MACHINE', 'AS OF (UTC)', 'POINT', 'MADE (UTC)', 'HOST', 'VERDICT', 'WHY'],
        cells: ({ id, machine: name, timeMs, point, addedMs, host, verdict, reason }) => [
          id,
          name,
          timeText(timeMs),
          point.slice(0, 8),
          timeText(addedMs),
          host,
          verdict,
          reason,
        ],
        none: 'No drill yet: "varve-agent drill POINT" makes one.',
      })
    }),
  )
}

/** EXISTS for a file that is there. */
const writePicture = async (file: string, picture: Uint8Array | null): Promise<void> => {
  if (picture === null) throw new VarveError('NOT_FOUND', 'the drill has no picture: the machine has no screen')
  try {
    await writeFile(file, picture, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    throw fileError(file, error)
  }
}

interface ShowOptions extends Common {
  readonly picture?: string
}

const addShow = (drills: Command): void => {
  const command = drills
    .command('show')
    .description("show a drill with the end of the machine's serial console")
    .argument('<id>', 'the id that "drills list" shows', wholeId('drills list'))
    .option('--picture <file>', "write the picture of the machine's screen, a PNG, to this new file")
    .addOption(tenantOption())
  toGateway(command).action(async (id: string, options: ShowOptions) => {
    const { drill, log, picture } = await withTenant(options, ({ peer, signal }) =>
      peer.call('drills.get', { drill: id }, { signal }),
    )
    const file = options.picture === undefined ? null : path.resolve(options.picture)
    if (file !== null) await writePicture(file, picture)
    printJson({ drill, log, picture: file })
    if (options.json) return
    drillLines(drill).forEach(print)
    if (log !== '') print(log)
    if (file !== null) print(`The picture is in ${file}.`)
  })
}

/** Adds `drills`. */
export const addDrillCommands = (program: Command): void => {
  const drills = program.command('drills').description('list and show drills: restore points that were started')
  addList(drills)
  addShow(drills)
}
