// Somebody who holds the lease of a machine, as Proxmox VE's QEMU and its qemu-server do: snapshot-access over copy-before-write
// filters, of which a bitmap that is reused limits what can be read; and a teardown with or without success.
import { rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './run.ts'
import type { ModelMachine } from './model-machine.ts'

export type BitmapMode = 'none' | 'new' | 'use'

/** What `backup-access-setup` says of a device, as qemu-server passes it on. */
export interface AccessVolume {
  readonly size: number
  readonly 'bitmap-mode': 'none' | 'new' | 'reuse'
  readonly 'nbd-path': string
  readonly 'bitmap-name'?: string
}

export interface AccessOptions {
  readonly modes: Readonly<Record<string, BitmapMode>>
  /** Also that of a disk's bitmap that is not there any more. */
  readonly bitmap?: string
  /** A bitmap that is reused does not limit what can be read, as with the scratch images of a backup job. */
  readonly open?: boolean
  readonly writable?: boolean
}

interface Device {
  readonly id: string
  readonly size: number
  readonly state: AccessVolume['bitmap-mode']
}

const granularity = 65_536

export class LeaseHolder {
  readonly machine: ModelMachine
  readonly bitmap: string
  readonly #folder: string
  #devices: Device[] = []

  /** `target` is what names the bitmap, as `snapshot-access:STORAGE` does. */
  constructor(machine: ModelMachine, folder: string, target = 'snapshot-access:varve') {
    this.machine = machine
    this.bitmap = target
    this.#folder = folder
  }

  /** With two slashes, as that of qemu-server has. */
  get socketPath(): string {
    return `${this.#folder}//access.sock`
  }

  fleecingFile(disk: string): string {
    return join(this.#folder, `${disk}.fleecing`)
  }

  /** Bytes that the fleecing image of a disk takes. */
  async fleecingBytes(disk: string): Promise<number> {
    return Number((await run('stat', ['-c', '%b', this.fleecingFile(disk)])).trim()) * 512
  }

  /** Takes the instant of all devices, and offers them. */
  async setup(options: AccessOptions): Promise<Record<string, AccessVolume>> {
    const { modes, open = false, writable = true } = options
    const { disks } = this.machine
    this.#devices = []
    for (const { id, size } of disks) {
      await rm(this.fleecingFile(id), { force: true })
      await writeFile(this.fleecingFile(id), '')
      await truncate(this.fleecingFile(id), size)
      const file = { driver: 'file', filename: this.fleecingFile(id), discard: 'unmap' }
      await this.#qmp('blockdev-add', { 'node-name': `${id}-fleecing`, driver: 'raw', discard: 'unmap', file })
    }
    await this.#qmp('stop')
    try {
      for (const { id, size } of disks) {
        const state = await this.#bitmapOf(id, modes[id] ?? 'none')
        this.#devices.push({ id, size, state })
        await this.#filter(id, state === 'reuse' && !open)
      }
    } finally {
      await this.#qmp('cont')
    }
    await this.#qmp('nbd-server-start', { addr: { type: 'unix', data: { path: this.socketPath } } })
    const volumes: Record<string, AccessVolume> = {}
    for (const { id, size, state } of this.#devices) {
      await this.#qmp('blockdev-add', {
        'node-name': `${id}-access`,
        driver: 'snapshot-access',
        file: `${id}-cbw`,
        discard: 'unmap',
      })
      const bitmaps = state === 'none' ? {} : { bitmaps: [{ node: id, name: this.bitmap }] }
      const target = { id: `${id}-export`, type: 'nbd', 'node-name': `${id}-access`, name: id, writable }
      await this.#qmp('block-export-add', { ...target, ...bitmaps })
      const named = state === 'none' ? {} : { 'bitmap-name': this.bitmap }
      volumes[id] = { size, 'bitmap-mode': state, 'nbd-path': this.socketPath, ...named }
    }
    return volumes
  }

  /** Gives the lease back: with success the bitmaps begin at its instant, without it they go on where they were. */
  async teardown(success: boolean): Promise<void> {
    await this.#qmp('nbd-server-stop')
    for (const { id, state } of this.#devices) {
      await this.#qmp('blockdev-del', { 'node-name': `${id}-access` })
      await this.#qmp('qom-set', { path: `/machine/peripheral/${id}`, property: 'drive', value: id })
      await this.#qmp('blockdev-del', { 'node-name': `${id}-cbw` })
      await this.#qmp('blockdev-del', { 'node-name': `${id}-fleecing` })
      await rm(this.fleecingFile(id), { force: true })
      if (state === 'none') continue
      const bitmap = { node: id, name: this.bitmap }
      if (success) await this.#qmp('block-dirty-bitmap-clear', bitmap)
      await this.#qmp('block-dirty-bitmap-merge', { node: id, target: this.bitmap, bitmaps: ['background'] })
      await this.#qmp('block-dirty-bitmap-enable', bitmap)
      await this.#qmp('block-dirty-bitmap-remove', { node: id, name: 'background' })
      // that of Proxmox VE has everything dirty then, which no command of QEMU's can do
      if (!success && state === 'new') await this.#qmp('block-dirty-bitmap-remove', bitmap)
    }
    this.#devices = []
  }

  /** Begins the bitmap of a disk anew, as another one who uses its name would. */
  async begin(disk: string): Promise<void> {
    await this.#qmp('block-dirty-bitmap-clear', { node: disk, name: this.bitmap })
  }

  async #bitmapOf(node: string, mode: BitmapMode): Promise<Device['state']> {
    const bitmap = { node, name: this.bitmap }
    const has = await this.#has(node)
    if (has && mode !== 'use') await this.#qmp('block-dirty-bitmap-remove', bitmap)
    if (mode === 'none') return 'none'
    const isNew = !has || mode === 'new'
    if (isNew) await this.#qmp('block-dirty-bitmap-add', { ...bitmap, granularity, disabled: true })
    else await this.#qmp('block-dirty-bitmap-disable', bitmap)
    await this.#qmp('block-dirty-bitmap-add', { node, name: 'background', granularity })
    return isNew ? 'new' : 'reuse'
  }

  async #filter(id: string, limits: boolean): Promise<void> {
    await this.#qmp('blockdev-add', {
      'node-name': `${id}-cbw`,
      driver: 'copy-before-write',
      file: id,
      target: `${id}-fleecing`,
      'on-cbw-error': 'break-snapshot',
      'cbw-timeout': 45,
      ...(limits ? { bitmap: { node: id, name: this.bitmap } } : {}),
    })
    await this.#qmp('qom-set', { path: `/machine/peripheral/${id}`, property: 'drive', value: `${id}-cbw` })
  }

  async #has(node: string): Promise<boolean> {
    const nodes = (await this.#qmp('query-named-block-nodes')) as readonly {
      readonly 'node-name': string
      readonly 'dirty-bitmaps'?: readonly { readonly name?: string }[]
    }[]
    const found = nodes.find((one) => one['node-name'] === node)
    return found?.['dirty-bitmaps']?.some(({ name }) => name === this.bitmap) === true
  }

  #qmp(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    return this.machine.qemu.control.execute(command, args)
  }
}
