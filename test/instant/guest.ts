// A machine that was begun by "instant", with a client that writes and reads its disks as a guest does: through its QEMU.
import { execFile } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { QmpClient } from '../../agent/qmp/client.ts'
import { isAlive } from '../support/stand-program.ts'
import { eventually } from '../support/temp.ts'
import { RawClient } from '../agent/export/raw-client.ts'

const COMMAND = { read: 0, write: 1, flush: 3 } as const

const BARE = '-S -nodefaults -no-user-config -global virtio-blk-pci.share-rw=on'.split(' ')

interface Block {
  readonly inserted?: { readonly 'node-name': string; readonly file: string }
}

/** One disk of it, over a writable export of QEMU; one request at a time. */
export class GuestDisk implements Disposable {
  readonly #client: RawClient

  private constructor(client: RawClient) {
    this.#client = client
  }

  static async open(socket: string, name: string): Promise<GuestDisk> {
    const client = await RawClient.open(socket)
    const head = Buffer.alloc(16)
    head.write('IHAVEOPT')
    head.writeUInt32BE(1, 8)
    head.writeUInt32BE(Buffer.byteLength(name), 12)
    client.socket.write(Buffer.concat([head, Buffer.from(name)]))
    await client.take(10)
    return new GuestDisk(client)
  }

  async write(offset: number, bytes: Buffer): Promise<void> {
    this.#client.request(COMMAND.write, offset, bytes.length)
    this.#client.socket.write(bytes)
    await this.#answer('write')
  }

  async flush(): Promise<void> {
    this.#client.request(COMMAND.flush, 0, 0)
    await this.#answer('flush')
  }

  async read(offset: number, length: number): Promise<Buffer> {
    this.#client.request(COMMAND.read, offset, length)
    await this.#answer('read')
    return await this.#client.take(length)
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]()
  }

  async #answer(what: string): Promise<void> {
    const errno = await this.#client.simple()
    if (errno !== 0) throw new Error(`a ${what} of the guest failed with errno ${errno}`)
  }
}

export class Guest implements AsyncDisposable {
  readonly pid: number
  readonly control: QmpClient
  readonly #disks: ReadonlyMap<string, GuestDisk>

  private constructor(pid: number, control: QmpClient, disks: ReadonlyMap<string, GuestDisk>) {
    this.pid = pid
    this.control = control
    this.#disks = disks
  }

  /** Runs the folder's start script. */
  static async start(folder: string, names: readonly string[]): Promise<Guest> {
    const qmp = path.join(folder, 'test.qmp')
    const nbd = path.join(folder, 'test.nbd')
    await rm(nbd, { force: true })
    const args = [...BARE, '-qmp', `unix:${qmp},server=on,wait=off`]
    await promisify(execFile)(path.join(folder, 'start.sh'), args)
    const pid = Number(await readFile(path.join(folder, 'qemu.pid'), 'utf8'))
    const control = await QmpClient.connect({ path: qmp })
    await control.execute('nbd-server-start', { addr: { type: 'unix', data: { path: nbd } } })
    const blocks = (await control.execute('query-block')) as readonly Block[]
    const disks = new Map<string, GuestDisk>()
    for (const name of names) {
      const node = blocks.find(({ inserted }) => inserted?.file === path.join(folder, `${name}.qcow2`))?.inserted?.[
        'node-name'
      ]
      const of = { type: 'nbd', id: `test-${name}`, 'node-name': node, name, writable: true }
      await control.execute('block-export-add', of)
      disks.set(name, await GuestDisk.open(nbd, name))
    }
    return new Guest(pid, control, disks)
  }

  disk(name: string): GuestDisk {
    return this.#disks.get(name)!
  }

  /** Ends QEMU cleanly, or as a crash does. */
  async end(how: 'quit' | 'kill'): Promise<void> {
    if (how === 'kill') process.kill(this.pid, 'SIGKILL')
    else await this.control.execute('quit').catch(() => undefined)
    await eventually(async () => !(await isAlive(this.pid)))
    this.#close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (await isAlive(this.pid)) await this.end('kill')
    else this.#close()
  }

  #close(): void {
    this.control.close()
    for (const disk of this.#disks.values()) disk[Symbol.dispose]()
  }
}
