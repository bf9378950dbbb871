// The domain that is measured: a disk with the image's content, random writes by its own device, and what must lie on it.
import { mkdir, open, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import { humanCommand } from '../support/libvirt-calls.ts'
import type { TestDomain, TestLibvirt } from '../support/libvirt.ts'
import { eventually } from '../support/temp.ts'
import { WRITE_BYTES } from './guest-writes.ts'
import type { BenchImage } from './image.ts'
import type { Watched } from './measure.ts'
import { randomBytesOf, randomIntegers } from './random.ts'

export const DOMAIN = 'bench'

const TRUTH = 'truth.raw'

/** libvirtd takes five calls of one client at once. */
const COMMANDS_AT_ONCE = 5

/** Longest time from the end of a restore until nothing has its file open, in milliseconds. */
const CLOSE_TIMEOUT_MS = 30_000

const COPY_TIMEOUT_MS = 5 * 60_000

/** Disposing it ends the domain and removes all of it. */
export class BenchDomain implements AsyncDisposable {
  readonly #domain: TestDomain
  readonly #folder: string
  readonly #image: BenchImage
  readonly #signal: AbortSignal

  private constructor(domain: TestDomain, folder: string, image: BenchImage, signal: AbortSignal) {
    this.#domain = domain
    this.#folder = folder
    this.#image = image
    this.#signal = signal
  }

  /** Defines and starts it in a folder of its own, which must not exist; its firmware finds nothing to start and waits. */
  static async start(
    libvirt: TestLibvirt,
    folder: string,
    image: BenchImage,
    signal: AbortSignal,
  ): Promise<BenchDomain> {
    await mkdir(folder)
    const file = path.join(folder, 'disk.qcow2')
    const options = { timeoutMs: COPY_TIMEOUT_MS, signal }
    await run('cp', ['--sparse=always', image.qcow2, file], options)
    await run('cp', ['--sparse=always', image.raw, path.join(folder, TRUTH)], options)
    await libvirt.give(folder)
    const disks = [{ target: 'vda', format: 'qcow2', file, size: image.size }] as const
    const domain = await libvirt.define({ name: DOMAIN, disks })
    await domain.start({ running: true })
    return new BenchDomain(domain, folder, image, signal)
  }

  /** A raw file with what lies on the disk, by the image and the writes since. */
  get truth(): string {
    return path.join(this.#folder, TRUTH)
  }

  async qemu(): Promise<Watched> {
    return { name: 'QEMU', pid: await this.#domain.pid() }
  }

  /** The names of the domain's checkpoints. */
  async checkpoints(): Promise<string[]> {
    const listed = await this.#domain.libvirt.virsh('-q', 'checkpoint-list', DOMAIN, '--name')
    return listed.split('\n').filter((name) => name !== '')
  }

  /** Writes so many random blocks of 4 KiB at random places of the whole disk, and into the truth. */
  async write(count: number, seed: number): Promise<void> {
    const integer = randomIntegers(seed)
    // Each is another block, as writes at once have no order.
    const chosen = new Set<number>()
    while (chosen.size < count) chosen.add(integer(this.#image.size / WRITE_BYTES))
    const blocks = [...chosen]
    const bytes = randomBytesOf(seed, count * WRITE_BYTES)
    const folder = path.join(this.#folder, 'writes')
    await mkdir(folder)
    await using truth = await open(this.truth, 'r+')
    const write = async (index: number): Promise<void> => {
      const block = bytes.subarray(index * WRITE_BYTES, (index + 1) * WRITE_BYTES)
      const offset = (blocks[index] ?? 0) * WRITE_BYTES
      const file = path.join(folder, String(index))
      await writeFile(file, block)
      await truth.write(block, 0, WRITE_BYTES, offset)
      await this.#device(`write -q -s ${file} ${offset} ${WRITE_BYTES}`)
    }
    for (let from = 0; from < count; from += COMMANDS_AT_ONCE) {
      this.#signal.throwIfAborted()
      const indexes = blocks.slice(from, from + COMMANDS_AT_ONCE).map((_, index) => from + index)
      await Promise.all(indexes.map(write))
    }
    await rm(folder, { recursive: true })
  }

  /** Throws unless a qcow2 file has the content that the disk has; waits for whoever still closes the file. */
  async compare(restored: string): Promise<void> {
    const options = { timeoutMs: COPY_TIMEOUT_MS, signal: this.#signal }
    await eventually(() => run('qemu-img', ['info', restored], options).catch(() => null), CLOSE_TIMEOUT_MS)
    await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', this.truth, restored], options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#domain.destroy().catch(() => undefined)
    await this.#domain.undefine().catch(() => undefined)
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** Lets the domain's device carry out a command of qemu-io; that it did is seen by what a restore has. */
  async #device(command: string): Promise<void> {
    const line = `qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "${command}"`
    const said = (await humanCommand(this.#domain.libvirt.control, this.#domain.domain, line)).trim()
    if (said !== '') throw new Error(`${line}: ${said}`)
  }
}
