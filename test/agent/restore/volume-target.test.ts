// A logical volume made for a restored disk: what LVM is told, and what it makes of that, with a loop device in the volume's
// place: no device mapper is needed.
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { runTool, ToolError, type RunTool } from '../../../agent/drivers/offline/tools.ts'
import { RestoreNotes } from '../../../agent/restore/restore-notes.ts'
import { commitTarget } from '../../../agent/restore/target.ts'
import { VolumeTarget } from '../../../agent/restore/volume-target.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { codeOf, failureOf } from './code-of.ts'
import { loopDevice } from './devices.ts'

const MIB = 1024 * 1024

/** A volume group of one volume, whose device is given; it notes every call, and fails where it is told to. */
class Group {
  readonly calls: string[] = []
  readonly volumes = new Set<string>()
  failing = ''
  readonly #devices: string
  readonly #device: string

  private constructor(devices: string, device: string) {
    this.#devices = devices
    this.#device = device
  }

  static async make(temp: TempFolder, device: string): Promise<Group> {
    await mkdir(temp.join('dev', 'vg0'), { recursive: true })
    return new Group(temp.join('dev'), device)
  }

  get devices(): string {
    return this.#devices
  }

  /** The calls, with the random part of names left out. */
  get told(): string[] {
    return this.calls.map((call) => call.replaceAll(/varve-restore-[0-9a-f]{16}/gu, 'TEMP'))
  }

  readonly run: RunTool = async (program, args) => {
    this.calls.push([program, ...args].join(' '))
    if (program === this.failing) throw new ToolError(program, 'Volume group "vg0" has insufficient free space', null)
    const place = (name: string): string => path.join(this.#devices, 'vg0', name)
    if (program === 'lvs') return [...this.volumes].map((name) => `  ${name}\n`).join('')
    if (program === 'lvcreate') {
      const name = args[args.indexOf('--name') + 1]!
      this.volumes.add(name)
      await symlink(this.#device, place(name))
    } else if (program === 'lvremove') {
      const name = args.at(-1)!.split('/')[1]!
      this.volumes.delete(name)
      await rm(place(name))
    } else if (program === 'lvrename') {
      const [, from = '', to = ''] = args
      this.volumes.delete(from)
      this.volumes.add(to)
      await rename(place(from), place(to))
    }
    return ''
  }
}

test('it is made under a temporary name, gets its own when it is complete, and its rest is zeroed', async (context) => {
  await using temp = await tempFolder()
  const file = temp.join('backing')
  await writeFile(file, randomBytes(4 * MIB))
  await using loop = await loopDevice(file)
  if (loop === null) {
    context.skip('this process may not make a loop device')
    return
  }
  const group = await Group.make(temp, loop.path)
  const { run, devices } = group
  const size = 3 * MIB + 512
  const disk = randomBytes(size)
  {
    await using target = await VolumeTarget.make('lvm:vg0/db1', size, { devices, run })
    await target.write(0, disk)
    await commitTarget(target)
  }
  expect([...group.volumes]).toEqual(['db1'])
  expect(group.told).toEqual([
    'lvs --noheadings -o lv_name vg0',
    `lvcreate --yes --wipesignatures n --name TEMP --size ${size}b vg0`,
    'lvs --noheadings -o lv_name vg0',
    'lvrename vg0 TEMP db1',
  ])
  expect((await readFile(loop.path)).equals(Buffer.concat([disk, Buffer.alloc(4 * MIB - size)]))).toBe(true)
  const there = await failureOf(VolumeTarget.make('lvm:vg0/db1', size, { devices, run }))
  expect(there).toMatchObject({ code: 'TARGET_EXISTS', message: expect.stringContaining('--onto') })
})

test('it is removed where the restore fails, or a name is taken meanwhile; what LVM refuses is told', async (context) => {
  await using temp = await tempFolder()
  const file = temp.join('backing')
  await writeFile(file, randomBytes(MIB))
  await using loop = await loopDevice(file)
  if (loop === null) {
    context.skip('this process may not make a loop device')
    return
  }
  const group = await Group.make(temp, loop.path)
  const { run, devices } = group
  const notes = RestoreNotes.in(temp.join('state'))
  {
    await using target = await VolumeTarget.make('lvm:vg0/db1', MIB, { devices, run, notes })
    await target.write(0, randomBytes(4096))
    expect(group.volumes.size).toBe(1)
  }
  expect(group.volumes.size).toBe(0)
  {
    await using target = await VolumeTarget.make('lvm:vg0/db1', MIB, { devices, run, notes })
    group.volumes.add('db1')
    expect(await codeOf(commitTarget(target))).toBe('TARGET_EXISTS')
  }
  expect([...group.volumes]).toEqual(['db1'])
  // too large for its device: made, looked at and removed
  expect(await codeOf(VolumeTarget.make('lvm:vg0/db2', 2 * MIB, { devices, run, notes }))).toBe('TARGET_INVALID')
  expect([...group.volumes]).toEqual(['db1'])
  expect(await notes.settle()).toEqual([])
  group.failing = 'lvcreate'
  const full = await failureOf(VolumeTarget.make('lvm:vg0/db2', MIB, { devices, run, notes }))
  expect(full).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining('insufficient free space') })
  for (const name of ['lvm:vg0', 'lvm:vg0/a/b', 'lvm:--help/a', 'lvm:vg0/-a', 'lvm:vg0/', 'lvm:a b/c'])
    expect(await codeOf(VolumeTarget.make(name, MIB, { devices, run }))).toBe('TARGET_INVALID')
})

/** LVM's own programs on a group of a loop device, with a link to another one where the kernel would have a volume's. */
const lvm = async (
  temp: TempFolder,
  { group, physical, device }: { readonly group: string; readonly physical: string; readonly device: string },
): Promise<{ readonly run: RunTool; readonly devices: string } | null> => {
  const folder = temp.join('lvm')
  await mkdir(folder)
  const filter = `filter = [ "a|^${physical}$|", "r|.*|" ] use_devicesfile = 0`
  const config = `global { activation = 0 locking_dir = "${folder}" } backup { backup = 0 archive = 0 } devices { ${filter}
    obtain_device_list_from_udev = 0 external_device_info_source = "none" }`
  await writeFile(path.join(folder, 'lvm.conf'), config)
  const own: RunTool = (program, args) => runTool(program, args, { LVM_SYSTEM_DIR: folder })
  try {
    await own('vgcreate', ['-y', group, physical])
  } catch {
    return null
  }
  const devices = temp.join('dev')
  await mkdir(path.join(devices, group), { recursive: true })
  const run: RunTool = async (program, args) => {
    const said = await own(program, args)
    if (program === 'lvcreate') await symlink(device, path.join(devices, group, args[args.indexOf('--name') + 1]!))
    return said
  }
  return { run, devices }
}

test('LVM itself makes, names, refuses and removes it', async (context) => {
  await using temp = await tempFolder()
  for (const file of ['physical', 'volume']) await writeFile(temp.join(file), Buffer.alloc(32 * MIB))
  await using physical = await loopDevice(temp.join('physical'))
  await using device = await loopDevice(temp.join('volume'))
  const group = `varve-test-${randomBytes(4).toString('hex')}`
  const made =
    physical === null || device === null
      ? null
      : await lvm(temp, { group, physical: physical.path, device: device.path })
  if (made === null) {
    context.skip('this process may not make a loop device, or LVM is not installed')
    return
  }
  const { run, devices } = made
  const volumes = async (): Promise<string[]> =>
    (await run('lvs', ['--noheadings', '-o', 'lv_name', group])).split('\n').flatMap((line) => line.trim() || [])
  {
    await using _given = await VolumeTarget.make(`lvm:${group}/db1`, 5 * MIB + 512, { devices, run })
    expect(await volumes()).toEqual([expect.stringMatching(/^varve-restore-[0-9a-f]{16}$/u)])
  }
  expect(await volumes()).toEqual([])
  {
    await using target = await VolumeTarget.make(`lvm:${group}/db1`, 5 * MIB + 512, { devices, run })
    await target.write(0, randomBytes(4096))
    await commitTarget(target)
  }
  expect(await volumes()).toEqual(['db1'])
  expect(await codeOf(VolumeTarget.make(`lvm:${group}/db1`, MIB, { devices, run }))).toBe('TARGET_EXISTS')
  const large = await failureOf(VolumeTarget.make(`lvm:${group}/db2`, 64 * MIB, { devices, run }))
  expect(large).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringMatching(/insufficient free space/u) })
  const none = await failureOf(VolumeTarget.make(`lvm:${group}x/db2`, MIB, { devices, run }))
  expect(none).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringMatching(/not found/u) })
})
