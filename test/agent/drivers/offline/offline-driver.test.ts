// Disks that are no qcow2, and what happens to a machine that is started, runs, or was killed: with a real QEMU and daemon.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, rename, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { Lease, LeaseBase, LeasedDisk } from '../../../../agent/drivers/driver.ts'
import { ALLOCATION_CONTEXT } from '../../../../agent/nbd/extents.ts'
import { loopDevice } from '../../restore/devices.ts'
import { asBase, MIB } from '../../../support/lease.ts'
import { nbdUri } from '../../../support/lease-stage.ts'
import { OfflineBench, offlineMachine } from '../../../support/offline.ts'
import type { TestDisk } from '../../../support/qemu.ts'
import { run } from '../../../support/run.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const execute = promisify(execFile)

const mixed = (folder: string): readonly TestDisk[] => [
  { id: 'vda', format: 'qcow2', file: join(folder, 'a.qcow2'), size: 4 * MIB },
  { id: 'vdb', format: 'raw', file: join(folder, 'b.raw'), size: 4 * MIB },
]

const bench = async (folder: string, disks = mixed(folder)): Promise<OfflineBench> => {
  const made = new OfflineBench(folder, disks)
  await made.running(() => Promise.resolve())
  return made
}

const kinds = (lease: Lease): string[] => lease.disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

const expectContent = async (host: OfflineBench, lease: Lease): Promise<void> => {
  for (const disk of lease.disks)
    expect((await host.live.content(disk)).equals(host.live.model.get(disk.name)!), disk.name).toBe(true)
}

/** A start of the machine while its disks are read. */
const started = async (host: OfflineBench): Promise<string> => {
  try {
    await host.live.machine.start()
    return 'it runs'
  } catch (error) {
    return String(error)
  }
}

test('raw disks are read whole, holes without being read, and keep the machine off as others do', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path)
  const base = await host.checkpoint()
  await host.write('vda', 0x11, 0, 65_536)
  await host.write('vdb', 0x22, MIB, 65_536)
  await using agent = await host.agent()
  const lease = await agent.driver.begin(host.request({ base }))
  expect(kinds(lease)[0]).toBe('vda incremental bitmap')
  expect(kinds(lease)[1]).toMatch(/^vdb full (?:no-bitmap|bitmap-missing)$/u)
  expect(lease.checkpoint).toBe(false)
  await expectContent(host, lease)
  const map = await run('nbdinfo', [`--map=${ALLOCATION_CONTEXT}`, '--totals', nbdUri(lease.disks[1]!)])
  expect(map).toMatch(/^ *65536 .*data$/mu)

  for (const only of [0, 1]) {
    const disk = mixed(folder.path)[only]!
    const alone = new OfflineBench(folder.path, [disk])
    expect(await started(alone)).toMatch(/Failed to get "write" lock/u)
  }
  await lease.check()
  await lease.end('committed')
  expect(await started(host)).toBe('it runs')
  await host.live.machine.quit()
})

test('a machine that runs is refused, with who it is and the way to read it', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path)
  await using agent = await host.agent()
  await host.running(async (live) => {
    for (const exclude of [[], ['vda']]) {
      const refused = agent.driver.begin(host.request({ exclude }))
      await expect(refused).rejects.toMatchObject({
        code: 'DISK_IN_USE',
        message: expect.stringMatching(
          /qemu-system-x86 \(process \d+\), which runs the machine "test"; .*"qmp".*"domain"/u,
        ),
        details: { disk: exclude.length === 0 ? 'vda' : 'vdb', pid: live.machine.pid, machine: 'test' },
      })
    }
    expect(await agent.driver.look(host.configured)).toMatchObject({
      runState: 'in use',
      problem: expect.stringContaining('"test"'),
    })
    await expect(agent.driver.forget(host.configured, null)).rejects.toMatchObject({ code: 'DISK_IN_USE' })
  })
  expect(await agent.journal.list()).toEqual([])
})

test('after a machine was killed its bitmaps prove nothing', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path, mixed(folder.path).slice(0, 1))
  const stored = await host.checkpoint()
  await host.live.machine.start()
  await host.live.write('vda', 0x33, 0, 65_536)
  await host.live.machine.kill9()
  await using agent = await host.agent()
  const reasonWith = async (base: LeaseBase): Promise<string> => {
    const lease = await agent.driver.begin(host.request({ base }))
    // what its last writes left is for the images to say
    const copy = join(folder.path, 'copy')
    await run('qemu-img', ['convert', '-O', 'raw', join(folder.path, 'a.qcow2'), copy])
    expect((await host.live.content(lease.disks[0]!)).equals(await readFile(copy))).toBe(true)
    await lease.end('failed')
    return kinds(lease).join()
  }
  expect(await reasonWith(stored)).toBe('vda full bitmap-inconsistent')

  await host.live.machine.start()
  await using live = await host.live.agent()
  const lease = await live.driver.begin(host.live.request())
  await lease.end('committed')
  await host.live.machine.kill9()
  expect(await reasonWith(asBase(lease))).toBe('vda full bitmap-missing')
})

test('what writes without the lock ends the lease, and who changes owner or mode does not', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path)
  await using agent = await host.agent()
  const lease = await agent.driver.begin(host.request())
  await run('chmod', ['0640', join(folder.path, 'b.raw')])
  await lease.check()
  const file = await open(join(folder.path, 'b.raw'), 'r+')
  await file.write(Buffer.alloc(512, 1), 0, 512, 0)
  await file.close()
  await expect(lease.check()).rejects.toMatchObject({
    code: 'LEASE_LOST',
    message: expect.stringContaining('does not heed'),
  })
  expect(await lease.lost).toMatchObject({ code: 'LEASE_LOST' })
  await lease.end('failed')
})

test('a raw disk in which its guest wrote an image over a file of the host is read as it is', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'b.raw')
  const secret = join(folder.path, 'secret')
  await writeFile(secret, Buffer.alloc(MIB, 0x53))
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', file])
  const bytes = await readFile(file)
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent()
  const machine = offlineMachine([{ name: 'vdb', path: file, format: 'raw' }])
  const lease = await agent.driver.begin(host.request({ machine }))
  const [disk] = lease.disks
  expect(disk?.size).toBe(Math.ceil(bytes.length / 512) * 512)
  expect((await host.live.content(disk!)).subarray(0, bytes.length).equals(bytes)).toBe(true)
  await lease.end('failed')
})

test('a block device is read whole, is refused while something writes it, and proves that nothing did', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'volume')
  await writeFile(file, Buffer.alloc(4 * MIB, 0x42))
  await using device = await loopDevice(file)
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent()
  const machine = offlineMachine([{ name: 'vda', path: device!.path }])
  expect(await agent.driver.look(machine)).toMatchObject({
    runState: 'shut off',
    disks: [{ name: 'vda', size: 4 * MIB, format: 'raw' }],
  })
  const writer = spawn('sh', ['-c', `exec 3<>${device!.path}; echo open; read line`], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  await once(writer.stdout, 'data')
  await expect(agent.driver.begin(host.request({ machine }))).rejects.toMatchObject({
    code: 'DISK_IN_USE',
    details: { disk: 'vda', pid: writer.pid, process: 'sh' },
  })
  writer.stdin.end('\n')
  await once(writer, 'close')
  const lease = await agent.driver.begin(host.request({ machine }))
  expect((await host.live.content(lease.disks[0]!)).every((byte) => byte === 0x42)).toBe(true)
  await lease.check()
  const foreign = await open(device!.path, 'r+')
  await foreign.write(Buffer.alloc(4096, 1), 0, 4096, 0)
  await foreign.sync()
  await foreign.close()
  await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST' })
  await lease.end('failed')
})

test('disks that are not there, or no images, are refused, and leave nothing', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path)
  await using agent = await host.agent()
  const at = (path: string, format: 'raw' | 'qcow2') => offlineMachine([{ name: 'vda', path, format }])
  for (const machine of [
    at(join(folder.path, 'none'), 'raw'),
    at(join(folder.path, 'none'), 'qcow2'),
    at(join(folder.path, 'b.raw'), 'qcow2'),
  ]) {
    await expect(agent.driver.begin(host.request({ machine }))).rejects.toMatchObject({ code: 'DISK_UNSUPPORTED' })
    expect(await agent.driver.look(machine)).toMatchObject({ reachable: false, problem: expect.any(String) })
  }
  await expect(agent.driver.begin(host.request({ consistency: 'freeze-required' }))).rejects.toMatchObject({
    code: 'FREEZE_REQUIRED',
  })
  expect(await agent.journal.list()).toEqual([])
  expect(await host.daemons()).toEqual([])
})

test.each(['guard', 'daemon'] as const)(
  'the %s is killed: the lease is lost, and its end leaves nothing',
  async (which) => {
    await using folder = await tempFolder()
    await using host = await bench(folder.path)
    await using agent = await host.agent()
    const lease = await agent.driver.begin(host.request())
    const [daemon] = await host.daemons()
    const parent = Number(/^PPid:\s*(\d+)/mu.exec(await readFile(`/proc/${daemon}/status`, 'utf8'))?.[1])
    process.kill(which === 'guard' ? parent : daemon!, 'SIGKILL')
    expect(await lease.lost).toMatchObject({ code: 'LEASE_LOST' })
    // the lock is free at once
    await eventually(async () => (await started(host)) === 'it runs')
    await host.live.machine.quit()
    await lease.end('failed')
    expect(await agent.journal.list()).toEqual([])
  },
)

test('an agent that does not come back lets the machine start, and the next one settles what it left', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path)
  {
    await using agent = await host.agent({ silenceMs: 1_000 })
    await agent.driver.begin(host.request())
  }
  await eventually(async () => (await host.daemons()).length === 0)
  expect(await started(host)).toBe('it runs')
  await host.live.machine.quit()
  await using next = await host.agent()
  const [entry] = await next.journal.list()
  expect(await next.driver.adopt(entry!)).toBeNull()
  await next.driver.settle(entry!, 'failed')
  expect(await next.journal.list()).toEqual([])
})

test('a lease that is found again is given up where a disk is another file now', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path)
  {
    await using agent = await host.agent()
    await agent.driver.begin(host.request())
  }
  const file = join(folder.path, 'b.raw')
  await rename(file, `${file}.old`)
  await writeFile(file, '')
  await truncate(file, 4 * MIB)
  await using next = await host.agent()
  const [entry] = await next.journal.list()
  expect(await next.driver.adopt(entry!)).toBeNull()
  await next.driver.settle(entry!, 'failed')
  expect(await host.daemons()).toEqual([])
})

test('an image over others is read with all of them, and forgotten alone', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path, mixed(folder.path).slice(0, 1))
  await host.write('vda', 0x11, 0, MIB)
  const over = join(folder.path, 'over.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', over])
  await run('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 0x22 1M 64k', over])
  await run('qemu-img', ['bitmap', '--add', over, 'varve-deadbeef-cp-0192aaaa-0'])
  await run('qemu-img', ['bitmap', '--add', over, 'theirs'])
  host.live.model.get('vda')!.fill(0x22, MIB, MIB + 65_536)
  const machine = offlineMachine([{ name: 'vda', path: over }])
  await using agent = await host.agent()
  const lease = await agent.driver.begin(host.request({ machine }))
  await expectContent(host, lease)
  await lease.end('failed')
  expect(await agent.driver.forget(machine, 'vda')).toEqual({
    removed: [{ node: 'vda', bitmap: 'varve-deadbeef-cp-0192aaaa-0' }],
    left: [],
  })
  const { stdout } = await execute('qemu-img', ['info', over])
  expect(stdout).toContain('theirs')
  await expect(agent.driver.forget(machine, 'vdz')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

const firstDisk = (lease: Lease): LeasedDisk => lease.disks[0]!

test('an agent’s heartbeat keeps a lease that lasts longer than silence may', async () => {
  await using folder = await tempFolder()
  await using host = await bench(folder.path)
  await using agent = await host.agent({ silenceMs: 10_000 })
  const lease = await agent.driver.begin(host.request())
  await new Promise((resolve) => setTimeout(resolve, 12_000))
  await lease.check()
  expect((await host.live.content(firstDisk(lease))).length).toBe(4 * MIB)
  await lease.end('failed')
})
