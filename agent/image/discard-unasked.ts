// What no upload of an increment will ask for: it goes at once, so that the guest's writes to it are not copied.
import type { Lease } from '../drivers/driver.ts'
import { NbdClient } from '../nbd/client.ts'
import { discardUnchanged } from '../nbd/discards.ts'
import { rereading } from '../nbd/reread.ts'
import { BRIDGE_BYTES } from './upload-disk.ts'

/**
 * Discards what a lease will not be asked for, where what is unchanged has been compared: long unchanged gaps, in whole chunks of
 * `chunkBytes`.
 */
export const discardUnasked = async ({ disks }: Pick<Lease, 'disks'>, chunkBytes: number): Promise<void> => {
  for (const { socketPath, exportName, size, dirtyContext, compared, reread } of disks) {
    if (dirtyContext === null || compared !== true) continue
    try {
      await using client = await NbdClient.connect({ socketPath, exportName, contexts: [dirtyContext] })
      const source = rereading(client, dirtyContext, reread)
      const gaps = { context: dirtyContext, size, bridgeBytes: BRIDGE_BYTES, chunkBytes }
      await discardUnchanged(client, source, gaps)
    } catch {
      // it costs space; what is wrong with the export the first read says
    }
  }
}
