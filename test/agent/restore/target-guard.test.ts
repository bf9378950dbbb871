// What somebody uses is not written over: real machines, processes, mounts, swap space, loop devices and partitions.
import { spawn } from 'node:child_process'
import { link, mkdir, mkdtemp, open, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { expect, test, type TestContext } from 'vitest'
import { BlockDeviceTarget } from '../../../agent/restore/raw-target.ts'
import { guardTarget } from '../../../agent/restore/target-guard.ts'
import { startMachine } from '../../support/qemu.ts'
import { run } from '../../support/run.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { codeOf, failureOf } from './code-of.ts'
import { loopDevice, type Made } from './devices.ts'

const MIB = 1024 * 1024

/** Whether something can be guarded now, as the sentence of a refusal or null. */
const refusal = async (
  target: string,
  machines: readonly { name: string; address: string }[] = [],
): Promise<string | null> => {
  const error = await failureOf(
    (async () => {
      await using _guard = await guardTarget(target, machines)
    })(),
  )
  if (error === null) return null
  expect(error.code).toBe('TARGET_IN_USE')
  expect(error.message).toContain('--force does not override this')
  return error.message
}

/** A loop device over a new file; a host that lets nobody make one has nothing to test here. */
const loopOver = async (context: TestContext, temp: TempFolder, bytes = 4 * MIB): Promise<Made> => {
  await writeFile(temp.join('backing'), '')
  await truncate(temp.join('backing'), bytes)
  const loop = await loopDevice(temp.join('backing'))
  if (loop === null) context.skip('this process may not make a loop device')
  return loop
}

/** Arguments of a machine whose disk is a block device. */
const onDevice = (device: string): string[] => {
  const node = { driver: 'raw', 'node-name': 'd', file: { driver: 'host_device', filename: device } }
  return ['-blockdev', JSON.stringify(node), '-device', 'virtio-blk-pci,drive=d,id=vdd']
}

test('a running machine is named by its configuration, else by its own name, under all names of its disk', async () => {
  await using temp = await tempFolder()
  const disks = [
    { id: 'vda', format: 'qcow2', file: temp.join('a.qcow2'), size: MIB },
    { id: 'vdb', format: 'raw', file: temp.join('b.raw'), size: MIB },
  ] as const
  await using machine = await startMachine({ folder: temp.path, disks, name: 'web7' })
  await link(temp.join('b.raw'), temp.join('hard'))
  await symlink(machine.qmpPath, temp.join('named.qmp'))
  const known = [{ name: 'db1', address: temp.join('named.qmp') }]
  for (const { file } of disks) {
    expect(await refusal(file, known)).toContain('machine "db1" has it open')
    expect(await refusal(file)).toContain('guest "web7" has it open')
  }
  expect(await refusal(temp.join('hard'), known)).toContain('machine "db1"')
  await machine.quit()
  for (const { file } of disks) expect(await refusal(file)).toBeNull()
})

test('a machine that takes no locks, and a file that lies under a disk', async () => {
  await using temp = await tempFolder()
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', temp.join('base.qcow2'), '1M'])
  await run('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-F',
    'qcow2',
    '-b',
    temp.join('base.qcow2'),
    temp.join('top.qcow2'),
  ])
  await writeFile(temp.join('shared.raw'), Buffer.alloc(MIB))
  const shared = {
    driver: 'raw',
    'node-name': 's',
    file: { driver: 'file', filename: temp.join('shared.raw'), locking: 'off' },
  }
  const disks = [{ id: 'vda', format: 'qcow2', file: temp.join('top.qcow2'), size: MIB }] as const
  const extra = ['-blockdev', JSON.stringify(shared), '-device', 'virtio-blk-pci,drive=s,id=vds,share-rw=on']
  await using machine = await startMachine({ folder: temp.path, disks, extra, name: 'g' })
  for (const name of ['base.qcow2', 'shared.raw']) expect(await refusal(temp.join(name))).toContain('guest "g"')
  await machine.quit()
  expect(await refusal(temp.join('base.qcow2'))).toBeNull()
})

test('while it is held no machine starts on it, and a program without locks is seen before the end', async () => {
  await using temp = await tempFolder()
  const file = temp.join('a.raw')
  await writeFile(file, Buffer.alloc(MIB))
  const disks = [{ id: 'vda', format: 'raw', file, size: MIB }] as const
  await using guard = await guardTarget(file, [])
  await expect(startMachine({ folder: temp.path, disks })).rejects.toThrow(/"write" lock/u)
  await guard.check()
  {
    const tail = spawn('tail', ['-f', file], { stdio: 'ignore' })
    try {
      const seen = await eventually(async () => (await failureOf(guard.check())) ?? false)
      expect(seen.message).toContain(`tail (process ${tail.pid}) has it open`)
    } finally {
      tail.kill()
    }
  }
  await eventually(async () => (await codeOf(guard.check())) === 'none')
  await writeFile(temp.join('other'), 'precious')
  await rename(temp.join('other'), file)
  expect(await codeOf(guard.check())).toBe('TARGET_EXISTS')
  await rm(file)
  await guard.check()
})

test('a block device that a machine uses, by whatever node', async (context) => {
  await using temp = await tempFolder()
  await using loop = await loopOver(context, temp)
  await using machine = await startMachine({ folder: temp.path, disks: [], extra: onDevice(loop.path) })
  const number = (await run('stat', ['--format=%Hr %Lr', loop.path])).trim().split(' ')
  await run('mknod', [temp.join('node'), 'b', ...number])
  await symlink(loop.path, temp.join('link'))
  const known = [{ name: 'db1', address: machine.qmpPath }]
  for (const name of [loop.path, temp.join('node'), temp.join('link'), temp.join('backing')])
    expect(await refusal(name, known), name).toMatch(/machine "db1"|loop device/u)
  const before = await readFile(temp.join('backing'))
  expect(await codeOf(BlockDeviceTarget.open(loop.path, MIB))).toBe('TARGET_IN_USE')
  expect((await readFile(temp.join('backing'))).equals(before)).toBe(true)
})

test('a loop device over the disk of a running machine', async (context) => {
  await using temp = await tempFolder()
  await using loop = await loopOver(context, temp)
  const disks = [{ id: 'vda', format: 'raw', file: temp.join('backing'), size: 4 * MIB }] as const
  await using machine = await startMachine({ folder: temp.path, disks })
  expect(await refusal(loop.path, [{ name: 'db1', address: machine.qmpPath }])).toContain('machine "db1"')
})

test('a block device while it is written, and a machine that would start on it', async (context) => {
  await using temp = await tempFolder()
  await using loop = await loopOver(context, temp)
  await using _target = await BlockDeviceTarget.open(loop.path, MIB)
  const disks = [{ id: 'vda', format: 'raw', file: temp.join('backing'), size: 4 * MIB }] as const
  await expect(startMachine({ folder: temp.path, disks })).rejects.toThrow(/"write" lock/u)
  const extra = onDevice(loop.path)
  await expect(startMachine({ folder: temp.path, disks: [], extra })).rejects.toThrow(/"write" lock/u)
})

test('mounts, with where they are', async (context) => {
  await using temp = await tempFolder()
  await using loop = await loopOver(context, temp, 16 * MIB)
  await run('mkfs.ext4', ['-q', loop.path])
  const where = await mkdtemp(temp.join('a mount '))
  await run('mount', [loop.path, where])
  try {
    const error = await failureOf(BlockDeviceTarget.open(loop.path, MIB))
    expect(error).toMatchObject({ code: 'TARGET_IN_USE', message: expect.stringContaining(`mounted on ${where}`) })
    expect(await refusal(temp.join('backing'))).toContain(`the loop device ${loop.path} lies on it`)
  } finally {
    await run('umount', [where])
  }
  expect(await refusal(loop.path)).toBeNull()
})

test('a process that writes it, and one that has it open by a deleted name', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('store'))
  const file = temp.join('store', 'disk')
  await writeFile(file, 'x')
  await link(file, temp.join('other'))
  const program = spawn('sh', ['-c', 'exec 3<>"$0"; rm "$0"; echo; exec sleep 600', file], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  try {
    await new Promise((resolve) => program.stdout.once('data', resolve))
    expect(await refusal(temp.join('other'))).toContain(`process ${program.pid}`)
  } finally {
    program.kill()
  }
  // what this process itself has open is its own affair
  await using _own = await open(temp.join('other'), 'r')
  await eventually(async () => (await refusal(temp.join('other'))) === null)
})
