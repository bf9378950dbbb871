// A snapshot of a machine's disks that is read in their place: planned by name, made, and removed whatever happened between.
import { setTimeout as sleep } from 'node:timers/promises'
import { access } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import { leaseNames } from '../qmp/names.ts'
import type { LeaseRequest } from '../driver.ts'
import type { SnapshotPlan } from './entry.ts'
import type { OfflineHost } from './host.ts'
import { keysOf, type DiskKey } from './keys.ts'
import { stateOf } from './proof.ts'
import { ToolError } from './tools.ts'

/** How long a new device may take to appear, in milliseconds, and how often it is looked for. */
const APPEAR_LIMIT_MS = 15_000
const APPEAR_POLL_MS = 50

/** Share of a volume that a snapshot which is not thin may hold of what is overwritten. */
const SIZE_DEFAULT = '20%'

type LvmPlan = Extract<SnapshotPlan, { kind: 'lvm' }>
type ZfsPlan = Extract<SnapshotPlan, { kind: 'zfs' }>
type CommandPlan = Extract<SnapshotPlan, { kind: 'command' }>

/** What is read instead of each disk, by its name. */
export type ReadPaths = ReadonlyMap<string, string>

type Host = Pick<OfflineHost, 'run' | 'act' | 'deviceFolder'>

const failed = (why: string, cause?: unknown): VarveError => new VarveError('SNAPSHOT_FAILED', why, { cause })

const volumesSchema = v.object({
  report: v.tuple([
    v.object({
      lv: v.tuple([v.object({ vg_name: v.string(), lv_name: v.string(), pool_lv: v.string(), origin: v.string() })]),
    }),
  ]),
})

/** One logical volume as lvs reports it; null where there is none of this name. */
const findVolume = async (host: Host, name: string) => {
  const args = ['--reportformat', 'json', '-o', 'vg_name,lv_name,pool_lv,origin', name]
  let printed: string
  try {
    printed = await host.run('lvs', args)
  } catch (error) {
    if (error instanceof ToolError && /failed to find logical volume/iu.test(error.said)) return null
    throw error
  }
  const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), volumesSchema), printed)
  if (!checked.success) throw failed(`lvs does not report ${name} as one logical volume`)
  return checked.output.report[0].lv[0]
}

const planLvm = async (
  host: Host,
  disks: readonly DiskKey[],
  size: string | null,
  nameOf: (index: number) => string,
): Promise<LvmPlan> => {
  const volumes: LvmPlan['volumes'] = []
  for (const [index, disk] of disks.entries()) {
    const found = await findVolume(host, disk.path)
    if (found === null) throw failed(`${disk.path} of disk ${disk.name} is no logical volume`)
    const { vg_name: group, lv_name: origin, pool_lv: pool } = found
    volumes.push({ disk: disk.name, group, origin, thin: pool !== '', snapshot: nameOf(index) })
  }
  return { kind: 'lvm', size, volumes }
}

/** `20%` as lvcreate takes it. */
const spaceOf = (size: string): string[] => (size.endsWith('%') ? ['--extents', `${size}ORIGIN`] : ['--size', size])

const makeLvm = async (host: Host, { size, volumes }: LvmPlan): Promise<ReadPaths> => {
  for (const { group, origin, thin, snapshot } of volumes) {
    const space = thin ? ['--setactivationskip', 'n'] : spaceOf(size ?? SIZE_DEFAULT)
    const args = ['--snapshot', '--permission', 'r', '--name', snapshot, ...space, `${group}/${origin}`]
    await host.act(() => host.run('lvcreate', args))
  }
  return new Map(volumes.map(({ disk, group, snapshot }) => [disk, join(host.deviceFolder, group, snapshot)]))
}

const removeLvm = async (host: Host, { volumes }: LvmPlan): Promise<void> => {
  for (const { group, origin, snapshot } of volumes) {
    const found = await findVolume(host, `${group}/${snapshot}`)
    // one that is no snapshot of the disk is not ours, whatever it is called
    if (found?.origin !== origin) continue
    await host.act(() => host.run('lvremove', ['--yes', `${group}/${snapshot}`]))
  }
}

const zvolFolder = ({ deviceFolder }: Host): string => join(deviceFolder, 'zvol', '/')

const planZfs = (host: Host, disks: readonly DiskKey[], nameOf: (index: number) => string): ZfsPlan => ({
  kind: 'zfs',
  volumes: disks.map((disk, index) => {
    if (!disk.path.startsWith(zvolFolder(host)))
      throw failed(`${disk.path} of disk ${disk.name} is no ZFS volume: one is named ${zvolFolder(host)}POOL/VOLUME`)
    const volume = disk.path.slice(zvolFolder(host).length)
    const parent = volume.slice(0, volume.lastIndexOf('/'))
    return { disk: disk.name, volume, snapshot: `${volume}@${nameOf(0)}`, clone: `${parent}/${nameOf(index)}` }
  }),
})

const makeZfs = async (host: Host, { volumes }: ZfsPlan): Promise<ReadPaths> => {
  // one command takes all of them at one instant
  await host.act(() => host.run('zfs', ['snapshot', ...volumes.map(({ snapshot }) => snapshot)]))
  for (const { snapshot, clone } of volumes) {
    await host.act(() => host.run('zfs', ['clone', '-o', 'readonly=on', '-o', 'volmode=dev', snapshot, clone]))
  }
  return new Map(volumes.map(({ disk, clone }) => [disk, join(zvolFolder(host), clone)]))
}

const destroyZfs = async (host: Host, name: string): Promise<void> => {
  try {
    await host.run('zfs', ['list', '-H', '-o', 'name', '-t', 'all', name])
  } catch (error) {
    if (error instanceof ToolError && /does not exist/u.test(error.said)) return
    throw error
  }
  await host.act(() => host.run('zfs', ['destroy', name]))
}

const removeZfs = async (host: Host, { volumes }: ZfsPlan): Promise<void> => {
  for (const { clone } of volumes) await destroyZfs(host, clone)
  for (const { snapshot } of volumes) await destroyZfs(host, snapshot)
}

/** Runs the machine's own program: `create` or `remove`, then the disks' paths. */
const runProgram = (host: Host, { program, machine, id, disks }: CommandPlan, what: string): Promise<string> =>
  host.act(() =>
    host.run(program, [what, ...disks.map(({ path }) => path)], { VARVE_MACHINE: machine, VARVE_SNAPSHOT: id }),
  )

const makeByCommand = async (host: Host, plan: CommandPlan): Promise<ReadPaths> => {
  const printed = await runProgram(host, plan, 'create')
  const paths = printed.split('\n').filter((line) => line !== '')
  if (paths.length !== plan.disks.length || !paths.every((path) => isAbsolute(path)))
    throw failed(
      `${plan.program} create must print one absolute path for each of ${plan.disks.length} disks, in their order, and nothing else`,
    )
  return new Map(plan.disks.map(({ name }, index) => [name, paths[index]!]))
}

const removeByCommand = async (host: Host, plan: CommandPlan): Promise<void> => {
  await runProgram(host, plan, 'remove')
}

/** What will be made, by name; null where the machine's disks are read themselves. CONFIG_INVALID, SNAPSHOT_FAILED. */
export const planSnapshot = async (
  host: Host,
  { machine, agentId, leaseId }: Pick<LeaseRequest, 'machine' | 'agentId' | 'leaseId'>,
  disks: readonly DiskKey[],
): Promise<SnapshotPlan | null> => {
  const { snapshot, snapshotCommand: program, snapshotSize } = keysOf(machine)
  const nameOf = leaseNames(agentId, leaseId).scratchNode
  if (snapshot === null) return null
  if (snapshot === 'lvm') return await planLvm(host, disks, snapshotSize, nameOf)
  if (snapshot === 'zfs') return planZfs(host, disks, nameOf)
  if (program !== null)
    return {
      kind: 'command',
      program,
      machine: machine.name,
      id: leaseId,
      disks: disks.map(({ name, path }) => ({ name, path })),
    }
  const sentence = `machine ${machine.name}: snapshot = "command" needs snapshot_command, the program's path`
  throw new VarveError('CONFIG_INVALID', sentence)
}

const make = (host: Host, plan: SnapshotPlan): Promise<ReadPaths> => {
  if (plan.kind === 'lvm') return makeLvm(host, plan)
  return plan.kind === 'zfs' ? makeZfs(host, plan) : makeByCommand(host, plan)
}

const appear = async (path: string): Promise<void> => {
  const deadlineMs = performance.now() + APPEAR_LIMIT_MS
  for (;;) {
    try {
      await access(path)
      return
    } catch (cause) {
      if (performance.now() > deadlineMs) throw failed(`the snapshot ${path} did not appear`, cause)
      await sleep(APPEAR_POLL_MS)
    }
  }
}

/**
 * Makes the snapshot. SNAPSHOT_FAILED; also where volumes that are taken one after another (LVM) were written between, as they
 * would not be of one instant.
 */
export const makeSnapshot = async (host: Host, plan: SnapshotPlan, disks: readonly DiskKey[]): Promise<ReadPaths> => {
  const states = (): Promise<string[]> => Promise.all(disks.map(({ path }) => stateOf(path)))
  const isInTurn = plan.kind === 'lvm' && disks.length > 1
  const before = isInTurn ? await states() : []
  const paths = await make(host, plan)
  for (const path of paths.values()) await appear(path)
  if (isInTurn && JSON.stringify(before) !== JSON.stringify(await states()))
    throw failed(
      'the machine wrote while its volumes were taken one after another, so they are not of one instant: stop it until the backup has begun, or use snapshot = "command" with a program that suspends it',
    )
  return paths
}

/** Removes what is there of a planned snapshot. */
export const removeSnapshot = (host: Host, plan: SnapshotPlan): Promise<void> => {
  if (plan.kind === 'lvm') return removeLvm(host, plan)
  return plan.kind === 'zfs' ? removeZfs(host, plan) : removeByCommand(host, plan)
}
