// Snapshots that are read in a disk's place. Method: LVM and ZFS against a scripted host that keeps volumes in a folder, as
// a test machine has neither; the machine's own program for real.
import { chmod, copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { ToolError, type RunTool } from '../../../../agent/drivers/offline/tools.ts'
import { MIB } from '../../../support/lease.ts'
import { OfflineBench, offlineMachine } from '../../../support/offline.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const SNAPSHOT = /^varve-c0ffee42-[0-9a-z]{1,10}-[01]$/u

/** A host whose volumes are files. */
class Volumes {
  readonly folder: string
  readonly calls: string[] = []
  /** Called after each command. */
  after: (call: string) => Promise<void> = async () => {}

  constructor(folder: string) {
    this.folder = folder
  }

  async names(group: string): Promise<string[]> {
    return (await readdir(join(this.folder, group))).toSorted()
  }

  readonly run: RunTool = async (program, args) => {
    const call = [program, ...args].join(' ')
    this.calls.push(call)
    const printed = await this.#do(program, args)
    await this.after(call)
    return printed
  }

  async #do(program: string, args: readonly string[]): Promise<string> {
    const last = args.at(-1) ?? ''
    if (program === 'lvs') return await this.#lvs(last.startsWith('/') ? last.slice(this.folder.length + 1) : last)
    if (program === 'lvcreate') {
      const name = args[args.indexOf('--name') + 1] ?? ''
      const [group = '', origin = ''] = last.split('/')
      await copyFile(join(this.folder, group, origin), join(this.folder, group, name))
    } else if (program === 'lvremove') await rm(join(this.folder, last))
    else if (program === 'zfs') return await this.#zfs(args)
    else throw new ToolError(program, 'unknown', null)
    return ''
  }

  /** A volume whose name begins with `thin` is in a pool; of a snapshot the origin is known. */
  async #lvs(name: string): Promise<string> {
    const [group = '', volume = ''] = name.split('/')
    if (!(await this.names(group)).includes(volume))
      throw new ToolError('lvs', `Failed to find logical volume "${name}"`, null)
    const origin = SNAPSHOT.test(volume) ? (volume.endsWith('-0') ? 'plain0' : 'thin1') : ''
    const lv = { vg_name: group, lv_name: volume, pool_lv: volume.startsWith('thin') ? 'pool' : '', origin }
    return JSON.stringify({ report: [{ lv: [lv] }] })
  }

  async #zfs([what = '', ...args]: readonly string[]): Promise<string> {
    const at = (name: string): string => join(this.folder, 'zvol', name)
    const last = args.at(-1) ?? ''
    if (what === 'snapshot') for (const name of args) await copyFile(at(name.split('@')[0]!), at(name))
    if (what === 'clone') await copyFile(at(args.at(-2)!), at(last))
    if (what === 'destroy') await rm(at(last))
    if (what === 'list' && !(await this.names('zvol/tank')).includes(basename(last)))
      throw new ToolError('zfs', `cannot open '${last}': dataset does not exist`, null)
    return ''
  }
}

const volume = (byte: number): Buffer => Buffer.alloc(MIB, byte)

const read = async (host: OfflineBench, lease: Lease): Promise<number[]> => {
  const found: number[] = []
  for (const disk of lease.disks) {
    const bytes = await host.live.content(disk)
    found.push(bytes.every((byte) => byte === bytes[0]) ? bytes[0]! : -1)
  }
  return found
}

const lvm = async (folder: string) => {
  const volumes = new Volumes(join(folder, 'dev'))
  await mkdir(join(folder, 'dev', 'vg'), { recursive: true })
  const paths = [join(folder, 'dev/vg/plain0'), join(folder, 'dev/vg/thin1')]
  for (const [index, path] of paths.entries()) await writeFile(path, volume(index + 1))
  const machine = offlineMachine(
    paths.map((path, index) => ({ name: `vd${index}`, path })),
    { snapshot: 'lvm', snapshot_size: '2G' },
  )
  return { volumes, paths, machine, parts: { run: volumes.run, deviceFolder: volumes.folder } }
}

test('LVM: snapshots of all volumes are read, and removed after', async () => {
  await using folder = await tempFolder()
  const { volumes, paths, machine, parts } = await lvm(folder.path)
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent(parts)
  const lease = await agent.driver.begin(host.request({ machine }))
  expect(volumes.calls.filter((call) => call.startsWith('lvcreate'))).toEqual([
    expect.stringMatching(/--snapshot --permission r --name varve-\S+-0 --size 2G vg\/plain0$/u),
    expect.stringMatching(/--snapshot --permission r --name varve-\S+-1 --setactivationskip n vg\/thin1$/u),
  ])
  // the machine may write its disks meanwhile
  for (const path of paths) await writeFile(path, volume(9))
  expect(await read(host, lease)).toEqual([1, 2])
  await lease.check()
  await lease.end('committed')
  expect(await volumes.names('vg')).toEqual(['plain0', 'thin1'])
  expect(await agent.journal.list()).toEqual([])
})

test('LVM: volumes that were written while they were taken in turn are not of one instant', async () => {
  await using folder = await tempFolder()
  const { volumes, paths, machine, parts } = await lvm(folder.path)
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent(parts)
  volumes.after = async (call) => {
    if (call.startsWith('lvcreate')) await writeFile(paths[0]!, volume(7))
  }
  await expect(agent.driver.begin(host.request({ machine }))).rejects.toMatchObject({
    code: 'SNAPSHOT_FAILED',
    message: expect.stringContaining('not of one instant'),
  })
  expect(await volumes.names('vg')).toEqual(['plain0', 'thin1'])
  expect(await agent.journal.list()).toEqual([])
})

test('LVM: what only has the name of a snapshot of ours stays, and no volume is refused', async () => {
  await using folder = await tempFolder()
  const { volumes, machine, parts } = await lvm(folder.path)
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent(parts)
  const request = host.request({ machine })
  const lease = await agent.driver.begin(request)
  const [entry] = await agent.journal.list()
  await lease.end('failed')
  // somebody else's volume, which is a snapshot of another one
  const other = (await lvmNames(entry!.payload))[1]!
  await writeFile(join(volumes.folder, 'vg', other.replace(/-1$/u, '-0')), 'theirs')
  const renamed = JSON.parse(JSON.stringify(entry!).replaceAll('"plain0"', '"another"')) as typeof entry
  await agent.driver.settle(renamed!, 'failed')
  expect(await volumes.names('vg')).toEqual(['plain0', 'thin1', other.replace(/-1$/u, '-0')])

  const none = offlineMachine([{ name: 'vda', path: join(folder.path, 'dev/vg/none') }], { snapshot: 'lvm' })
  await expect(agent.driver.begin(host.request({ machine: none }))).rejects.toMatchObject({
    code: 'SNAPSHOT_FAILED',
    message: expect.stringContaining('is no logical volume'),
  })
})

const lvmNames = async (payload: unknown): Promise<string[]> =>
  [...JSON.stringify(payload).matchAll(/"snapshot":"(varve-[^"]+)"/gu)].map(([, name]) => name!)

test('ZFS: one snapshot of all volumes, read through clones, and both removed after', async () => {
  await using folder = await tempFolder()
  const volumes = new Volumes(folder.join('dev'))
  await mkdir(folder.join('dev/zvol/tank'), { recursive: true })
  for (const index of [0, 1]) await writeFile(folder.join(`dev/zvol/tank/vm${index}`), volume(index + 3))
  const machine = offlineMachine(
    [0, 1].map((index) => ({ name: `vd${index}`, path: folder.join(`dev/zvol/tank/vm${index}`) })),
    { snapshot: 'zfs' },
  )
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent({ run: volumes.run, deviceFolder: volumes.folder })
  const lease = await agent.driver.begin(host.request({ machine }))
  expect(volumes.calls[0]).toMatch(/^zfs snapshot tank\/vm0@(varve-\S+) tank\/vm1@\1$/u)
  expect(await read(host, lease)).toEqual([3, 4])
  await lease.end('failed')
  expect(await volumes.names('zvol/tank')).toEqual(['vm0', 'vm1'])

  const elsewhere = offlineMachine([{ name: 'vda', path: '/srv/a.raw' }], { snapshot: 'zfs' })
  await expect(agent.driver.begin(host.request({ machine: elsewhere }))).rejects.toMatchObject({
    code: 'SNAPSHOT_FAILED',
    message: expect.stringContaining('is no ZFS volume'),
  })
})

const PROGRAM = `#!/bin/sh
set -e
what=$1; shift
where="$(dirname "$0")/snapshots/$VARVE_MACHINE-$VARVE_SNAPSHOT"
case $what in
  create) mkdir -p "$where"; for disk; do cp "$disk" "$where/"; echo "$where/$(basename "$disk")"; done ;;
  remove) rm -rf "$where" ;;
esac
`

const byCommand = async (folder: string, program = PROGRAM) => {
  const path = join(folder, 'snapshot.sh')
  await writeFile(path, program)
  await chmod(path, 0o755)
  await mkdir(join(folder, 'snapshots'), { recursive: true })
  const host = new OfflineBench(folder, [
    { id: 'vda', format: 'qcow2', file: join(folder, 'a.qcow2'), size: 4 * MIB },
    { id: 'vdb', format: 'qcow2', file: join(folder, 'b.qcow2'), size: 4 * MIB },
  ])
  const disks = ['a', 'b'].map((name, index) => ({ name: `vd${'ab'[index]}`, path: join(folder, `${name}.qcow2`) }))
  const machine = offlineMachine(disks, { snapshot: 'command', snapshot_command: path })
  return { host, machine, snapshots: (): Promise<string[]> => readdir(join(folder, 'snapshots')) }
}

test('a program of the machine’s: the machine runs while its disks are read, which are still an increment', async () => {
  await using folder = await tempFolder()
  const { host, machine, snapshots } = await byCommand(folder.path)
  await using _ = host
  await host.running(() => Promise.resolve())
  const base = await host.checkpoint()
  await host.write('vda', 0x11, 0, 65_536)
  const expected = host.live.snapshot()
  await using agent = await host.agent()
  const lease = await agent.driver.begin(host.request({ machine, base }))
  expect(lease.disks.map(({ kind, reason }) => `${kind} ${reason}`)).toEqual(Array(2).fill('incremental bitmap'))
  await host.running((live) => live.write('vda', 0x22, 0, 65_536))
  for (const disk of lease.disks)
    expect((await host.live.content(disk)).equals(expected.get(disk.name)!), disk.name).toBe(true)
  await lease.check()
  await lease.end('committed')
  expect(await snapshots()).toEqual([])
})

test.each([
  ['that fails', '#!/bin/sh\necho "no space" >&2\n[ "$1" = remove ]\n', /no space/u],
  [
    'that prints too little',
    `${PROGRAM}[ $what = remove ] || exit 0\n`.replace('for disk', 'for disk in "$1"'),
    /one absolute path/u,
  ],
  ['that prints a relative path', '#!/bin/sh\necho a\necho b\n', /one absolute path/u],
])('a program %s leaves nothing', async (_, program, message) => {
  await using folder = await tempFolder()
  const { host, machine, snapshots } = await byCommand(folder.path, program)
  await using __ = host
  await host.running(() => Promise.resolve())
  await using agent = await host.agent()
  await expect(agent.driver.begin(host.request({ machine }))).rejects.toMatchObject({
    code: 'SNAPSHOT_FAILED',
    message: expect.stringMatching(message),
  })
  expect(await agent.journal.list()).toEqual([])
  expect(await snapshots()).toEqual([])
})

test('a machine whose program is not named is refused', async () => {
  await using folder = await tempFolder()
  const { host } = await byCommand(folder.path)
  const machine = offlineMachine([{ name: 'vda', path: folder.join('a.qcow2') }], { snapshot: 'command' })
  await using agent = await host.agent()
  await expect(agent.driver.begin(host.request({ machine }))).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
})

test('death at any step: the next agent removes the snapshot, also where the entry is damaged', async () => {
  await using folder = await tempFolder()
  const { host, machine, snapshots } = await byCommand(folder.path)
  await using _ = host
  await host.running(() => Promise.resolve())
  for (let at = 1; ; at++) {
    let count = 0
    const dies = (): 'after' | null => (++count === at ? 'after' : null)
    await using agent = await host.agent({ dies })
    const begun = agent.driver.begin(host.request({ machine }))
    const outcome = await Promise.race([begun.then(() => 'begun'), agent.died.then(() => 'died')])
    await agent[Symbol.asyncDispose]()
    await using next = await host.agent()
    const [entry] = await next.journal.list()
    if (at % 2 === 0) await writeFile(join(host.stateFolder, 'leases', `${entry!.id}.json`), 'damaged')
    if (at % 2 === 0) next.driver.attach(machine)
    else await next.driver.settle(entry!, 'failed')
    await eventually(async () => (await snapshots()).length === 0 && (await host.daemons()).length === 0)
    if (outcome === 'begun') break
  }
})
