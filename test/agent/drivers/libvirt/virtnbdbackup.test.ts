// Beside virtnbdbackup on one domain: each takes a full and increments in turn, both restore exactly, and neither touches the
// other's checkpoints. Method: Debian's package on a real domain; what our leases call changed is laid over the point before.

import { mkdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Lease, LeaseBase } from '../../../../agent/drivers/driver.ts'
import { asBase, dirtyRanges, MIB } from '../../../support/lease.ts'
import { checkpointOf, qcow2Disks, startLibvirtBench, type LibvirtBench } from '../../../support/libvirt-lease.ts'
import { run } from '../../../support/run.ts'
import { tempFolder, type TempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

type Images = ReadonlyMap<string, Buffer>

/** Their tool on the bench's domain. */
const theirs = async (bench: LibvirtBench, folder: TempFolder, level: 'full' | 'inc'): Promise<void> => {
  const space = folder.join('space')
  await mkdir(space, { recursive: true })
  await bench.libvirt.give(space)
  const { uri } = bench.libvirt
  const places = ['-o', folder.join('theirs'), '-S', space, '-f', `${space}/nbd`]
  await run('virtnbdbackup', ['-U', uri, '-d', 'db1', '-l', level, '-n', ...places])
}

/** What their newest point restores to. */
const theirImages = async (bench: LibvirtBench, folder: TempFolder, number: number): Promise<Images> => {
  const target = folder.join(`restored-${number}`)
  await mkdir(target)
  await run('virtnbdrestore', ['-U', bench.libvirt.uri, '-i', folder.join('theirs'), '-o', target, '-n'])
  const images = new Map<string, Buffer>()
  for (const { target: disk, file } of bench.testDisks) {
    const raw = folder.join(`${disk}-${number}.raw`)
    await run('qemu-img', ['convert', '-O', 'raw', `${target}/${file.split('/').at(-1)}`, raw])
    images.set(disk, await readFile(raw))
  }
  return images
}

/** The images of a lease: the ones before it, with what it calls changed laid over them. */
const laidOver = async (bench: LibvirtBench, lease: Lease, before: Images): Promise<Images> => {
  const images = new Map<string, Buffer>()
  for (const disk of lease.disks) {
    const now = await bench.content(disk)
    const image = disk.kind === 'full' ? now : Buffer.from(before.get(disk.name)!)
    if (disk.kind === 'incremental')
      for (const { offset, length } of await dirtyRanges(disk)) now.copy(image, offset, offset, offset + length)
    images.set(disk.name, image)
  }
  return images
}

const expectSame = (images: Images, expected: Images, what: string): void => {
  for (const [disk, bytes] of expected) expect(images.get(disk)?.equals(bytes), `${what} ${disk}`).toBe(true)
}

test('full and increments of both in turn: each exact, each undisturbed', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  await bench.domain.resume()
  await using agent = await bench.agent()
  let base: LeaseBase | null = null
  let ours: Images = new Map()
  const ourTurn = async (expected: string): Promise<void> => {
    const lease = await agent.driver.begin(bench.request({ base }))
    expect(new Set(lease.disks.map(({ kind, reason }) => `${kind} ${reason}`))).toEqual(new Set([expected]))
    ours = await laidOver(bench, lease, ours)
    expectSame(ours, bench.snapshot(), 'ours')
    await lease.end('committed')
    base = asBase(lease)
  }
  const theirCheckpoints = (count: number): string[] => Array.from({ length: count }, (_, at) => `virtnbdbackup.${at}`)
  const expectBoth = async (count: number): Promise<void> => {
    expect(await bench.checkpoints()).toEqual(theirCheckpoints(count))
    expect(await bench.recorded()).toEqual([checkpointOf(base?.checkpoint ?? '')])
  }

  await bench.write('vda', 0x11, 0, MIB)
  await ourTurn('full first')
  await bench.write('vdb', 0x12, MIB, MIB)
  await theirs(bench, folder, 'full')
  await expectBoth(1)
  for (const turn of [1, 2, 3]) {
    await bench.write('vda', 0x20 + turn, turn * KIB64, KIB64)
    await ourTurn('incremental bitmap')
    await expectBoth(turn)
    await bench.write('vdb', 0x30 + turn, 2 * MIB + turn * KIB64, 2 * KIB64)
    await theirs(bench, folder, 'inc')
    await expectBoth(turn + 1)
    expectSame(await theirImages(bench, folder, turn), bench.snapshot(), 'theirs')
  }
  await agent.driver.forget(bench.configured, null)
  expect(await bench.checkpoints()).toEqual(theirCheckpoints(4))
  expect(await bench.recorded()).toEqual([])
}, 180_000)
