// Commands about restores that an agent carries out: order one, and those that run or have ended.
import { InvalidArgumentError, Option, type Command } from 'commander'
import * as v from 'valibot'
import { asVarveError, isErrorCode, VarveError } from '../../protocol/errors.ts'
import { Meter } from '../../protocol/host/meter.ts'
import type { Moment } from '../../protocol/host/moment.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'
import { ProgressLine } from '../../protocol/host/progress.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { Peer } from '../../protocol/peer.ts'
import { hostPath, RESTORE_STATES, TARGET_FORMATS, type Restore } from '../../protocol/restores.ts'
import { diskName, uuid } from '../../protocol/schemas.ts'
import { printList } from './listing.ts'
import { machineOption, rowsOption, tenantOption, toGateway, wholeId, type Common } from './options.ts'
import { withTenant, type Remote } from './remote.ts'
import { timeText } from './report-points.ts'
import { atOption, namedPoint, POINT, pointFor } from './which-point.ts'

interface WantedDisk {
  readonly disk: string
  readonly to: string
}

/** One more `NAME=PATH`. */
export const diskTo = (text: string, before: readonly WantedDisk[] = []): WantedDisk[] => {
  const at = text.indexOf('=/')
  const checked = v.safeParse(v.object({ disk: diskName, to: hostPath }), {
    disk: text.slice(0, Math.max(0, at)),
    to: text.slice(at + 1),
  })
  if (at < 1 || !checked.success)
    throw new InvalidArgumentError(
      'It takes a disk and an absolute path on the host, such as vda=/srv/restore/db1.qcow2.',
    )
  return [...before, checked.output]
}

/** The agent of a host's name, or by its id; NOT_FOUND, AMBIGUOUS. */
const agentOf = async ({ peer, signal }: Remote, host: string): Promise<string> => {
  const id = v.safeParse(uuid, host)
  if (id.success) return id.output
  const found: { id: string; host: string }[] = []
  let after: string | null = null
  do {
    const page: Awaited<ReturnType<typeof agentPage>> = await agentPage(peer, after, signal)
    found.push(...page.agents.filter((agent) => agent.host === host && agent.revokedMs === null))
    after = page.next
  } while (after !== null)
  if (found.length === 0)
    throw new VarveError('NOT_FOUND', `no agent runs on a host "${host}"; "varve-gateway agent list" shows them`)
  if (found.length > 1)
    throw new VarveError(
      'AMBIGUOUS',
      `${found.length} agents run on a host "${host}": give the id that "agent list" shows`,
    )
  return found[0]!.id
}

const agentPage = (peer: Peer, after: string | null, signal: AbortSignal) =>
  peer.call('agents.list', { after }, { signal })

const doneOf = ({ disks }: Restore): number => disks.reduce((sum, { doneBytes }) => sum + doneBytes, 0)
const sizeOf = ({ disks }: Restore): number => disks.reduce((sum, { size }) => sum + size, 0)

/** The restore once it has ended, with progress on a terminal. */
const follow = async ({ peer, signal }: Remote, restore: string): Promise<Restore> => {
  using line = new ProgressLine(process.stderr)
  const meter = new Meter()
  const call = peer.open('restores.watch', { restore }, { signal })
  try {
    for await (const state of call.messages) {
      meter.add(performance.now(), doneOf(state))
      line.show(`restore to ${state.host}: ${meter.text(doneOf(state), sizeOf(state))}`)
    }
  } catch {
    // the result has it too
  }
  return await call.result
}

/** The error of a connection that broke while the restore goes on. */
const goesOn = (thrown: unknown, restore: string): VarveError => {
  const error = asVarveError(thrown)
  const way = `the restore goes on; to watch it: varve-gateway restores watch ${restore}`
  return new VarveError(error.code, `${error.message}; ${way}`, { cause: error })
}

/** Prints a restore that is done; the error of one that failed. */
const report = (restore: Restore, json: boolean): void => {
  const { machine, timeMs, host, error, disks } = restore
  if (error !== null) {
    const { code, message } = error
    throw new VarveError(isErrorCode(code) ? code : 'PEER_FAILED', `the restore to ${host} failed: ${message}`)
  }
  printJson({ id: restore.id, restore })
  for (const { remarks } of disks) remarks.forEach(remark)
  if (json) return
  for (const { disk, size, to, format, how, bytesReceived, differBytes, writtenBytes } of disks) {
    const what = `disk ${disk} of ${machine} at ${new Date(timeMs).toISOString()}`
    const differ = sizeText(differBytes ?? 0)
    if (how === 'compare')
      print(`${differ} of ${sizeText(size)} on ${to} on ${host} differ from ${what}; nothing was written.`)
    else if (how === 'onto')
      print(
        `${to} on ${host} is ${what}: ${differ} of ${sizeText(size)} differed, ${sizeText(writtenBytes)} written (${sizeText(bytesReceived)} received), every chunk written was checked.`,
      )
    else
      print(
        `Disk ${disk} of ${machine} at ${new Date(timeMs).toISOString()} is in ${to} on ${host} (${format ?? 'raw'}): ${sizeText(size)} (${sizeText(bytesReceived)} received), every chunk and the root checked.`,
      )
  }
}

interface RestoreOptions extends Common {
  readonly at?: Moment
  readonly agent: string
  readonly disk: readonly WantedDisk[]
  readonly format?: (typeof TARGET_FORMATS)[number]
  readonly onto: boolean
  readonly dryRun: boolean
  readonly overwrite: boolean
  readonly watch: boolean
}

const order = async (remote: Remote, named: string, options: RestoreOptions): Promise<void> => {
  const { disk, format = null, onto, dryRun, overwrite, watch, json } = options
  const agent = await agentOf(remote, options.agent)
  const point = await pointFor(remote, named, options.at)
  const how = onto ? (dryRun ? 'compare' : 'onto') : 'new'
  const disks = disk.map((one) => ({ ...one, format, how }) as const)
  // the id of one that has begun is needed to cancel it
  const { restore } = await remote.peer.call('restores.start', { point, agent, disks, overwrite }, { deadlineMs: 0 })
  if (!watch) {
    printJson({ id: restore, restore: null })
    if (!json) print(`Restore ${restore} has started; to watch it: varve-gateway restores watch ${restore}`)
    return
  }
  let ended: Restore
  try {
    ended = await follow(remote, restore)
  } catch (thrown) {
    throw goesOn(thrown, restore)
  }
  report(ended, json)
}

const addRestore = (program: Command): void => {
  const command = program
    .command('restore')
    .description("have an agent write disks of a restore point to places that its configuration's [restore] allows")
    .argument('<point>', POINT)
    .addOption(atOption())
    .addOption(tenantOption())
    .requiredOption('--agent <host>', 'the host whose agent writes, or the id of the agent')
    .addOption(
      new Option('--disk <name=path>', 'a disk and the file, or device, that it goes to; for more disks again')
        .argParser(diskTo)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--format <format>', "the files' format (without it their names decide)").choices(TARGET_FORMATS),
    )
    .option('--onto', 'compare images that are there, and write only what differs', false)
    .option('--dry-run', 'with --onto: only compare, and write nothing', false)
    .option(
      '--overwrite',
      'replace files and overwrite devices that are there, unless they are in use; with --onto, give a file the size of the disk',
      false,
    )
    .option('--watch', 'follow it to its end; Ctrl-C stops watching, not the restore', false)
    .addHelpText(
      'after',
      '\nExample: varve-gateway restore 3f2a91c0 --tenant acme --agent h3 --disk vda=/srv/restore/db1.qcow2 --watch',
    )
  toGateway(command).action(async (text: string, options: RestoreOptions) => {
    if (options.dryRun && !options.onto) throw new VarveError('PARAMS_INVALID', '--dry-run is for --onto')
    const named = namedPoint(text, options.at)
    await withTenant(options, (remote) => order(remote, named, options))
  })
}

export const restoreCells = (restore: Restore): string[] => {
  const { id, machine, timeMs, host, disks, startedMs, endedMs, state, error } = restore
  const shown = disks.map(({ disk, to }) => `${disk}=${to}`).join(' ')
  const share = sizeOf(restore) === 0 ? 1 : doneOf(restore) / sizeOf(restore)
  const running = state === 'running' ? ` (${Math.floor(share * 100)} %)` : ''
  const why = error === null ? '-' : `${error.message} (${error.code})`
  return [id, machine, timeText(timeMs), host, shown, timeText(startedMs), timeText(endedMs), `${state}${running}`, why]
}

const addList = (restores: Command): void => {
  const command = restores
    .command('list')
    .description('list restores that agents carry out or have ended, newest first')
    .addOption(tenantOption())
    .addOption(machineOption('only those of this machine'))
    .addOption(new Option('--state <state>', 'only those').choices(RESTORE_STATES))
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { machine?: string; state?: Restore['state']; limit?: number }) =>
    withTenant(options, ({ peer, signal }) => {
      const { machine = null, state = null } = options
      return printList(options, (after) => peer.call('restores.list', { machine, state, after }, { signal }), {
        field: 'restores',
        rowsOf: (page) => page.restores,
        heading: ['RESTORE', 'MACHINE', 'AS OF (UTC)', 'HOST', 'DISKS', 'BEGAN (UTC)', 'ENDED (UTC)', 'STATE', 'WHY'],
        cells: restoreCells,
        none: 'There is no restore yet.',
      })
    }),
  )
}

const restoreId = wholeId('restores list')

const addWatch = (restores: Command): void => {
  const command = restores
    .command('watch')
    .description('follow a restore to its end; Ctrl-C stops watching, not the restore')
    .argument('<id>', 'the id that "restores list" shows', restoreId)
    .addOption(tenantOption())
  toGateway(command).action((restore: string, options: Common) =>
    withTenant(options, async (remote) => report(await follow(remote, restore), options.json)),
  )
}

const addCancel = (restores: Command): void => {
  const command = restores
    .command('cancel')
    .description('cancel a running restore; its agent removes what it has written')
    .argument('<id>', 'the id that "restores list" shows', restoreId)
    .addOption(tenantOption())
  toGateway(command).action(async (restore: string, options: Common) => {
    await withTenant(options, ({ peer, signal }) => peer.call('restores.cancel', { restore }, { signal }))
    printJson({ id: restore })
    if (!options.json) print(`Restore ${restore} is cancelled.`)
  })
}

/** Adds `restore` and `restores`. */
export const addRestoreCommands = (program: Command): void => {
  addRestore(program)
  const restores = program.command('restores').description('list, watch and cancel restores that agents carry out')
  addList(restores)
  addWatch(restores)
  addCancel(restores)
}
