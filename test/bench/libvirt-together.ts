// Both products on one domain in turn: neither may disturb the other's checkpoints, and every point must be right.
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import type { TestLibvirt } from '../support/libvirt.ts'
import type { BenchImage } from './image.ts'
import { BenchDomain } from './libvirt-domain.ts'
import { openVarve, openVirtnbdbackup, type Level } from './libvirt-products.ts'

const TIMEOUT_MS = 5 * 60_000

/** Whose turn it is; each first turn is a full backup. Every order of two that follow each other comes up. */
const TURNS = ['varve', 'virtnbdbackup', 'varve', 'virtnbdbackup', 'virtnbdbackup', 'varve', 'varve'] as const

const WRITES_BETWEEN = 200

/** What one turn left, for the report. */
export interface Turn {
  readonly product: (typeof TURNS)[number]
  readonly level: Level
  readonly point: string
  /** The checkpoints in libvirt's list afterwards: Varve's are in the images alone. */
  readonly checkpoints: readonly string[]
}

export interface TogetherOptions {
  readonly libvirt: TestLibvirt
  readonly image: BenchImage
  readonly folder: string
  readonly signal: AbortSignal
}

/** Throws where a product changed the other's checkpoints, where a backup was not what it should be, or a restore is wrong. */
export const backUpTogether = async (options: TogetherOptions): Promise<Turn[]> => {
  const { libvirt, image, folder, signal } = options
  const runOptions = { timeoutMs: TIMEOUT_MS, signal }
  await using domain = await BenchDomain.start(libvirt, path.join(folder, 'domain'), image, signal)
  await using varve = await openVarve(libvirt, path.join(folder, 'varve'), signal)
  await using other = await openVirtnbdbackup(libvirt, path.join(folder, 'virtnbdbackup'), true)
  const products = { varve, virtnbdbackup: other }
  const turns: Turn[] = []
  for (const [index, name] of TURNS.entries()) {
    const level: Level = turns.some(({ product }) => product === name) ? 'incremental' : 'full'
    const product = products[name]
    const before = await domain.checkpoints()
    const { program, args } = product.backup(level)
    const point = await product.pointOf(level, await run(program, args, runOptions))
    const checkpoints = await domain.checkpoints()
    const expected = name === 'varve' ? before : [...before, point]
    if (checkpoints.join() !== expected.join())
      throw new Error(
        `after a backup by ${name} libvirt has the checkpoints ${checkpoints.join()}, not ${expected.join()}`,
      )
    const target = path.join(folder, 'restored')
    await mkdir(target)
    const restore = product.restore(point, target)
    await run(restore.program, restore.args, runOptions)
    await domain.compare(path.join(target, 'disk.qcow2'))
    await rm(target, { recursive: true })
    turns.push({ product: name, level, point, checkpoints })
    await domain.write(WRITES_BETWEEN, index + 1)
  }
  return turns
}
