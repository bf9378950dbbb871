// The driver `offline` does what every driver must, with a real storage daemon; checkpoints are made by a real QEMU between.

import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LeasedDisk } from '../../../../agent/drivers/driver.ts'
import { checkpointsOf, dirtyRanges, MIB, type DirtyRange } from '../../../support/lease.ts'
import { OfflineBench } from '../../../support/offline.ts'
import type { TestDisk } from '../../../support/qemu.ts'
import { run } from '../../../support/run.ts'
import { driverSuite, type SuiteHost } from '../driver-suite.ts'

interface Info {
  readonly 'format-specific': { readonly data: { readonly bitmaps?: readonly { readonly name: string }[] } }
}

class OfflineSuiteHost extends OfflineBench implements SuiteHost {
  readonly holds = 'locks'

  snapshot(): ReadonlyMap<string, Buffer> {
    return this.live.snapshot()
  }

  content(disk: LeasedDisk): Promise<Buffer> {
    return this.live.content(disk)
  }

  changed(disk: LeasedDisk): Promise<readonly DirtyRange[]> {
    return dirtyRanges(disk)
  }

  async addForeign(): Promise<void> {
    for (const name of ['theirs', 'theirs-varve-c0ffee42-cp-0192aaaa-0'])
      await run('qemu-img', ['bitmap', '--add', this.live.machine.fileOf('vda'), name])
    for (const name of ['varve-deadbeef-0123456789', 'theirs-varve-1', 'varve-c0ffee42-theirs']) {
      await mkdir(join(this.runtimeFolder, name), { recursive: true })
      await writeFile(join(this.runtimeFolder, name, 'nbd'), '')
    }
  }

  async remains(): Promise<object> {
    const bitmaps: string[] = []
    for (const disk of this.disks) {
      const file = this.live.machine.fileOf(disk)
      const info: Info = JSON.parse(await run('qemu-img', ['info', '--output=json', file]))
      bitmaps.push(...(info['format-specific'].data.bitmaps ?? []).map(({ name }) => `${disk}/${name}`))
    }
    const folders = await readdir(this.runtimeFolder).catch(() => [])
    return { bitmaps: bitmaps.toSorted(), folders, daemons: await this.daemons() }
  }

  withCheckpoint(remains: object, leaseId: string): object {
    if (!this.isCheckpoint(leaseId)) return remains
    const { bitmaps } = remains as { bitmaps: readonly string[] }
    return { ...remains, bitmaps: [...bitmaps, ...checkpointsOf(leaseId, this.disks)].toSorted() }
  }

  async kill(): Promise<void> {
    for (const pid of await this.daemons()) process.kill(pid, 'SIGKILL')
  }

  /** It is off, and stays so. */
  start(): Promise<void> {
    return Promise.resolve()
  }
}

/** Two qcow2 disks of 4 MiB. */
const twoDisks = (folder: string): readonly TestDisk[] => [
  { id: 'vda', format: 'qcow2', file: join(folder, 'a.qcow2'), size: 4 * MIB },
  { id: 'vdb', format: 'qcow2', file: join(folder, 'b.qcow2'), size: 4 * MIB },
]

driverSuite(async (folder) => {
  const host = new OfflineSuiteHost(folder, twoDisks(folder))
  await host.running(() => Promise.resolve())
  return host
})
