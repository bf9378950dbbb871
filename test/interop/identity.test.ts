// An increment only of what a disk proves to be: disks that swap, shrink, lie over other files, or have changed out of sight.
import { randomBytes } from 'node:crypto'
import { copyFile, open, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import { KIB, MIB, type ModelMachine } from '../support/model-machine.ts'
import type { TestDisk } from '../support/qemu.ts'
import { run } from '../support/run.ts'
import { bare, expectNothingLeft } from '../support/stand-checks.ts'
import type { BackupAnswer, Host } from '../support/stand-host.ts'
import { Stand, TENANT } from '../support/stand.ts'

vi.setConfig({ maxConcurrency: 2, testTimeout: 120_000 })

const SIZE = 32 * MIB

interface Scene extends AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly machine: ModelMachine
  /** A disk by its id and its image. */
  disk(id: string, image?: string): TestDisk
  /** Backs up, and compares each disk of the point with what its image holds once QEMU has ended. */
  exact(images: Readonly<Record<string, string>>, ...flags: string[]): Promise<BackupAnswer>
}

/** A machine whose disks `vda` and `vdb` hold 4 MiB of their own each. */
const scene = async (format: 'qcow2' | 'raw' = 'qcow2'): Promise<Scene> => {
  const stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [])
  const disk = (id: string, image = id): TestDisk => ({
    id,
    format,
    size: SIZE,
    file: `${machine.folder}/${image}.${format}`,
  })
  await machine.qemu.restart({ disks: [disk('vda'), disk('vdb')] })
  for (const id of ['vda', 'vdb']) await write(machine, id, MIB, randomBytes(4 * MIB))
  await host.start()
  const contentOf = async (image: string): Promise<Buffer> => {
    const raw = `${machine.folder}/${image}.expected`
    await run('qemu-img', ['convert', '-U', '-f', format, '-O', 'raw', disk(image).file, raw])
    return await readFile(raw)
  }
  return {
    stand,
    host,
    machine,
    disk,
    exact: async (images, ...flags) => {
      const answer = await host.backup('db1', ...flags)
      await machine.qemu.quit()
      const restored = await stand.restore(answer.point)
      expect([...restored.keys()].toSorted()).toEqual(Object.keys(images).toSorted())
      for (const [id, image] of Object.entries(images))
        expect(restored.get(id)!.equals(await contentOf(image)), `${id} is ${image}`).toBe(true)
      return answer
    },
    [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose](),
  }
}

/** A guest write that the machine's model does not follow. */
const write = async (machine: ModelMachine, disk: string, offset: number, bytes: Buffer): Promise<void> => {
  const file = `${machine.folder}/pattern`
  await writeFile(file, bytes)
  await machine.qemu.guestIo(disk, `write -s ${file} ${offset} ${bytes.length}`)
}

const reasonsOf = ({ disks }: BackupAnswer): Record<string, string> =>
  Object.fromEntries(disks.map(({ name, kind, reason }) => [name, `${kind} ${reason}`]))

const BOTH_INCREMENTAL = { vda: 'incremental bitmap', vdb: 'incremental bitmap' }

test.concurrent(
  'images that change places between two names are followed, each as an increment of itself',
  async () => {
    await using at = await scene()
    const { host, machine, disk } = at
    await host.backup('db1')
    await write(machine, 'vdb', 20 * MIB, randomBytes(64 * KIB))
    await machine.qemu.restart({ disks: [disk('vda', 'vdb'), disk('vdb', 'vda')] })
    await write(machine, 'vda', 24 * MIB, randomBytes(64 * KIB))
    const swapped = await at.exact({ vda: 'vdb', vdb: 'vda' })
    expect(reasonsOf(swapped)).toEqual(BOTH_INCREMENTAL)
    expect(swapped.bytesRead).toBe(2 * 64 * KIB)
    await machine.qemu.start()
    expect(reasonsOf(await at.exact({ vda: 'vdb', vdb: 'vda' }))).toEqual(BOTH_INCREMENTAL)
  },
)

test.concurrent(
  'names that QEMU counts shift when a disk is put in front: images are followed, the new one is full',
  async () => {
    await using at = await scene()
    const { host, machine, disk } = at
    const drives = (...images: string[]): string[] =>
      images.flatMap((image) => ['-drive', `if=virtio,format=qcow2,file=${disk(image).file}`])
    await machine.qemu.restart({ disks: [], extra: drives('vda', 'vdb') })
    expect(reasonsOf(await host.backup('db1'))).toEqual({ virtio0: 'full first', virtio1: 'full first' })
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', disk('new').file, String(SIZE)])
    await machine.qemu.restart({ extra: drives('new', 'vda', 'vdb') })
    const answer = await at.exact({ virtio0: 'new', virtio1: 'vda', virtio2: 'vdb' })
    expect(reasonsOf(answer)).toEqual({
      virtio0: 'full bitmap-missing',
      virtio1: 'incremental bitmap',
      virtio2: 'incremental bitmap',
    })
  },
)

test.concurrent('a copy that carries the bitmap of its original makes both full reads', async () => {
  await using at = await scene()
  const { host, machine, disk } = at
  await host.backup('db1')
  await machine.qemu.quit()
  await copyFile(disk('vda').file, disk('copy').file)
  await machine.qemu.start({ disks: [disk('vda'), disk('vdb', 'copy')] })
  await write(machine, 'vdb', 9 * MIB, randomBytes(64 * KIB))
  const answer = await at.exact({ vda: 'vda', vdb: 'copy' })
  expect(reasonsOf(answer)).toEqual({ vda: 'full checkpoint-mismatch', vdb: 'full checkpoint-mismatch' })
})

const resize = (machine: ModelMachine, disk: string, size: number): Promise<unknown> =>
  machine.qemu.control.execute('block_resize', { 'node-name': disk, size })

test.concurrent.each(['qcow2', 'raw'] as const)(
  'a %s disk that was smaller for a while is read in full',
  async (format) => {
    await using at = await scene(format)
    const { host, machine } = at
    await write(machine, 'vda', 20 * MIB, randomBytes(4 * MIB))
    await write(machine, 'vdb', SIZE - 4096, randomBytes(4096))
    await host.backup('db1')
    // a whole part of one disk, and less than a chunk at the end of the other
    await resize(machine, 'vda', 16 * MIB)
    await resize(machine, 'vdb', SIZE - 512)
    for (const disk of ['vda', 'vdb']) await resize(machine, disk, SIZE)
    // what is written at the new end must not hide it
    await write(machine, 'vda', SIZE - 64 * KIB, randomBytes(64 * KIB))
    const answer = await at.exact({ vda: 'vda', vdb: 'vdb' })
    // a qcow2 image keeps what lies behind the end in its last cluster, so there is nothing to miss
    const end = format === 'raw' ? 'full changes-missed' : 'incremental bitmap'
    expect(reasonsOf(answer)).toEqual({ vda: 'full changes-missed', vdb: end })
    await machine.qemu.start()
    const next = format === 'raw' ? 'full bitmap-missing' : 'incremental bitmap'
    expect(reasonsOf(await at.exact({ vda: 'vda', vdb: 'vdb' }))).toEqual({ vda: next, vdb: next })
  },
)

// where the content ends before the last backup, where it is cut, and what is written after that
test.concurrent.each([
  ['all of the content is cut off', MIB, 5 * MIB, 64 * KIB, null],
  ['the cut is in the middle of a chunk', MIB, 20 * MIB, 20 * MIB - 5 * 512, null],
  ['the last content was written again', 20 * MIB, 24 * MIB, 18 * MIB, 23 * MIB],
  ['all behind the cut but one chunk was written again', 20 * MIB, 20 * MIB + 128 * KIB, 20 * MIB, 20 * MIB + 64 * KIB],
] as const)('a disk that was smaller is read in full where %s', async (_, from, end, cut, writtenFrom) => {
  for (const format of ['qcow2', 'raw'] as const) {
    await using at = await scene(format)
    const { host, machine } = at
    await write(machine, 'vda', from, randomBytes(end - from))
    await host.backup('db1')
    await resize(machine, 'vda', cut)
    await resize(machine, 'vda', SIZE)
    if (writtenFrom !== null) await write(machine, 'vda', writtenFrom, randomBytes(end - writtenFrom))
    const answer = await at.exact({ vda: 'vda', vdb: 'vdb' })
    const middle = cut % (64 * KIB) !== 0 && format === 'qcow2'
    expect(reasonsOf(answer), format).toEqual({
      vda: middle ? 'incremental bitmap' : 'full changes-missed',
      vdb: 'incremental bitmap',
    })
  }
})

test.concurrent(
  'a disk that is larger now is read in full for that; one that was for a while has lost nothing',
  async () => {
    await using at = await scene()
    const { host, machine, disk } = at
    await host.backup('db1')
    await resize(machine, 'vda', SIZE + MIB)
    await resize(machine, 'vdb', SIZE + MIB)
    await machine.qemu.guestIo('vdb', `write -P 17 ${SIZE - 64 * KIB} 128k`)
    await resize(machine, 'vdb', SIZE)
    const answer = await host.backup('db1')
    expect(reasonsOf(answer)).toEqual({ vda: 'full size-changed', vdb: 'incremental bitmap' })
    expect(answer.disks.find(({ name }) => name === 'vdb')!.comparedChunks).toBeGreaterThan(0)
    await machine.qemu.quit()
    const restored = await at.stand.restore(answer.point)
    const raw = `${machine.folder}/vdb.expected`
    await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk('vdb').file, raw])
    expect(restored.get('vdb')!.equals(await readFile(raw))).toBe(true)
  },
)

test.concurrent('an image that was smaller while its machine was off is read in full', async () => {
  await using at = await scene()
  const { host, machine, disk } = at
  await write(machine, 'vda', 20 * MIB, randomBytes(4 * MIB))
  await host.backup('db1')
  await machine.qemu.quit()
  await run('qemu-img', ['resize', '-q', '--shrink', disk('vda').file, String(16 * MIB)])
  await run('qemu-img', ['resize', '-q', disk('vda').file, String(SIZE)])
  await machine.qemu.start()
  expect(reasonsOf(await at.exact({ vda: 'vda', vdb: 'vdb' }))).toEqual({
    vda: 'full changes-missed',
    vdb: 'incremental bitmap',
  })
})

/** Puts the disk `vda` on an overlay over `base.qcow2`, a copy of what it was. */
const onTemplate = async ({ machine, disk }: Scene): Promise<void> => {
  await machine.qemu.quit()
  await rename(disk('vda').file, disk('base').file)
  await copyFile(disk('base').file, disk('other').file)
  const under = ['-b', disk('base').file, '-F', 'qcow2']
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...under, disk('vda').file])
  await machine.qemu.start()
}

test.concurrent('another backing file, and a template that was written again, are seen', async () => {
  await using at = await scene()
  const { host, machine, disk } = at
  await onTemplate(at)
  await host.backup('db1')
  await machine.qemu.restart()
  expect(reasonsOf(await at.exact({ vda: 'vda', vdb: 'vdb' })), 'nothing changed').toEqual(BOTH_INCREMENTAL)

  const poke = async (image: string, offset: number): Promise<void> => {
    await run('qemu-io', ['-f', 'qcow2', '-c', `write -P 0x5a ${offset} 1M`, disk(image).file])
  }
  await poke('other', 2 * MIB)
  await run('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', disk('other').file, disk('vda').file])
  await machine.qemu.start()
  const moved = await at.exact({ vda: 'vda', vdb: 'vdb' })
  expect(reasonsOf(moved), 'rebased').toEqual({ vda: 'full backing-changed', vdb: 'incremental bitmap' })

  // its time of modification set back does not hide it
  const { atime, mtime } = await stat(disk('other').file)
  await poke('other', 3 * MIB)
  await utimes(disk('other').file, atime, mtime)
  await machine.qemu.start()
  const rewritten = await at.exact({ vda: 'vda', vdb: 'vdb' })
  expect(reasonsOf(rewritten), 'rewritten').toEqual({ vda: 'full backing-changed', vdb: 'incremental bitmap' })
})

test.concurrent('an image whose content lies in a file of its own is not trusted over a restart', async () => {
  await using at = await scene()
  const { host, machine, disk } = at
  await machine.qemu.quit()
  const data = `${machine.folder}/data.raw`
  await run('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    `data_file=${data},data_file_raw=on`,
    disk('vdc').file,
    String(SIZE),
  ])
  await machine.qemu.start({ disks: [disk('vda'), disk('vdc')] })
  await write(machine, 'vdc', MIB, randomBytes(MIB))
  await host.backup('db1')
  await write(machine, 'vdc', 5 * MIB, randomBytes(64 * KIB))
  const increment = await at.exact({ vda: 'vda', vdc: 'vdc' })
  expect(reasonsOf(increment)).toEqual({ vda: 'incremental bitmap', vdc: 'incremental bitmap' })
  const file = await open(data, 'r+')
  await file.write(randomBytes(MIB), 0, MIB, 8 * MIB)
  await file.close()
  await machine.qemu.start()
  const answer = await at.exact({ vda: 'vda', vdc: 'vdc' })
  expect(reasonsOf(answer)).toEqual({ vda: 'incremental bitmap', vdc: 'full bitmap-missing' })
})

test.concurrent(
  'what a bitmap missed is found by comparison, and the disk is read in full in the same backup',
  async () => {
    await using at = await scene('raw')
    const { host, machine, disk } = at
    await host.backup('db1')
    const untouched = await host.backup('db1')
    expect(untouched).toMatchObject({ bytesRead: 0, kind: 'incremental' })
    for (const { comparedChunks } of untouched.disks) expect(comparedChunks).toBeGreaterThanOrEqual(16)
    // one chunk, below QEMU's sight
    const file = await open(disk('vda').file, 'r+')
    await file.write(randomBytes(4096), 0, 4096, 17 * MIB)
    await file.close()
    const answer = await at.exact({ vda: 'vda', vdb: 'vdb' }, '--compare')
    expect(reasonsOf(answer)).toEqual({ vda: 'full changes-missed', vdb: 'incremental bitmap' })
    expect(answer.disks.find(({ name }) => name === 'vdb')?.comparedChunks).toBe(SIZE / (64 * KIB))

    await machine.qemu.start()
    await at.stand.done('plan', 'set', 'strict', '--cover-others', '--tenant', TENANT, '--compare-every', '30d')
    // raw disks are full after a restart, so nothing needs a comparison yet
    expect(reasonsOf(await host.backup('db1'))).toEqual({ vda: 'full bitmap-missing', vdb: 'full bitmap-missing' })
    const sampled = await host.backup('db1')
    for (const { comparedChunks } of sampled.disks) expect(comparedChunks).toBeLessThan(64)
    await at.stand.done(
      'plan',
      'set',
      'strict',
      '--cover-others',
      '--tenant',
      TENANT,
      '--compare-every',
      'never',
      '--refuse-full',
      'changes-missed',
    )
    const again = await open(disk('vda').file, 'r+')
    await again.write(randomBytes(4096), 0, 4096, 18 * MIB)
    await again.close()
    const refused = await host.run('backup', 'db1', '--compare')
    expect(refused.code).toBe(5)
    expect(refused.stderr).toMatch(/vda.*changes-missed.*FULL_REFUSED/u)
  },
)

test.concurrent(
  'one node behind two devices is backed up once; two nodes on one file are refused by name',
  async () => {
    await using at = await scene('raw')
    const { host, machine, disk } = at
    const second = ['-device', 'virtio-blk-pci,drive=vda,id=vdx,share-rw=on']
    const shared = (id: string): string => `virtio-blk-pci,drive=${id},id=${id},share-rw=on`
    const node = (id: string): string =>
      JSON.stringify({
        driver: 'raw',
        'node-name': id,
        file: { driver: 'file', filename: disk('vda').file, locking: 'off' },
      })
    await machine.qemu.restart({
      disks: [disk('vdb')],
      extra: ['-blockdev', node('vda'), '-device', shared('vda'), ...second],
    })
    const once = await at.exact({ vda: 'vda', vdb: 'vdb' })
    expect(once.leftOut).toEqual([{ name: 'vdx', reason: 'same-disk' }])
    await machine.qemu.start({
      extra: ['-blockdev', node('vda'), '-device', shared('vda'), '-blockdev', node('vdy'), '-device', shared('vdy')],
    })
    const before = bare(await machine.objects())
    const refused = await host.run('backup', 'db1')
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/vda.*vdy.*DISK_UNSUPPORTED/u)
    await expectNothingLeft(host, machine, before)
  },
)

test.concurrent('what is left out is said in output, point and status, and a plan can refuse it', async () => {
  await using at = await scene()
  const { host, machine, disk, stand } = at
  await host.backup('db1')
  const cd = ['-blockdev', `raw,node-name=cd,read-only=on,file.driver=file,file.filename=${disk('cd').file}`]
  await writeFile(disk('cd').file, randomBytes(MIB))
  await machine.qemu.restart({ disks: [disk('vda')], extra: [...cd, '-device', 'virtio-blk-pci,drive=cd,id=ro0'] })
  const leftOut = [
    { name: 'ro0', reason: 'read-only' },
    { name: 'vdb', reason: 'unplugged' },
  ]
  await stand.done('plan', 'set', 'strict', '--cover-others', '--tenant', TENANT, '--refuse-left-out', 'unplugged')
  const refused = await host.run('backup', 'db1')
  expect(refused.code).toBe(5)
  expect(refused.stderr).toMatch(/vdb.*unplugged.*DISK_LEFT_OUT/u)
  await stand.done('plan', 'set', 'strict', '--cover-others', '--tenant', TENANT, '--refuse-left-out', 'none')
  const { stdout: status } = await host.done('status')
  expect(status).toContain('ro0: left out (read-only)')
  const { stdout } = await host.done('backup', 'db1')
  expect(stdout).toContain('ro0: left out (read-only)')
  expect(stdout).toContain('vdb: left out (unplugged)')
  expect((await host.points('db1'))[0]).toMatchObject({ leftOut, disks: [{ name: 'vda' }] })
  expect((await stand.listPoints())[0]).toMatchObject({ leftOut })
})

test.concurrent('a machine that has moved away is refused by name, and can go on at its source', async () => {
  await using at = await scene()
  const { host, machine } = at
  await host.backup('db1')
  const objects = await machine.objects()
  const { control } = machine.qemu
  const to = `${machine.folder}/migration`
  await control.execute('cont')
  await control.execute('migrate', { uri: `exec:cat > ${to}` })
  await vi.waitUntil(
    async () => ((await control.execute('query-status')) as { status: string }).status === 'postmigrate',
    {
      timeout: 60_000,
    },
  )
  const refused = await host.run('backup', 'db1')
  expect(refused.code).toBe(5)
  expect(refused.stderr).toMatch(/postmigrate.*MACHINE_MOVING/u)
  await control.execute('cont')
  expect(await machine.objects()).toEqual(objects)
  expect(reasonsOf(await host.backup('db1'))).toEqual(BOTH_INCREMENTAL)
})
