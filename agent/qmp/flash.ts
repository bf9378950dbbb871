// The flash memory of a machine that its guest cannot write: firmware, which is no disk and which a restored machine needs.
import * as v from 'valibot'
import type { QmpCaller } from './client.ts'
import { checkAnswer, DISKS_MAX } from './disks.ts'

const text = v.pipe(v.string(), v.maxLength(4096))

const blocksSchema = v.pipe(
  v.array(
    v.object({
      qdev: v.optional(text, ''),
      device: v.optional(text, ''),
      inserted: v.optional(v.object({ ro: v.boolean(), image: v.object({ filename: text }) })),
    }),
  ),
  v.maxLength(DISKS_MAX * 4),
)

/** Read-only flash; `index` is its number, `fileName` QEMU's. Flash that the guest writes is a disk. */
export interface Flash {
  readonly index: number
  readonly fileName: string
}

const indexOf = (block: { readonly qdev: string; readonly device: string }): number | null => {
  const found = /\.flash(\d{1,2})$/u.exec(block.qdev) ?? /^pflash(\d{1,2})$/u.exec(block.device)
  return found === null ? null : Number(found[1])
}

/** In the order of their numbers. QMP_ERROR, QMP_PROTOCOL. */
export const readOnlyFlash = async (client: QmpCaller): Promise<Flash[]> =>
  checkAnswer(blocksSchema, await client.execute('query-block'), 'query-block')
    .flatMap((block): Flash[] => {
      const index = indexOf(block)
      const { inserted } = block
      return index === null || inserted?.ro !== true ? [] : [{ index, fileName: inserted.image.filename }]
    })
    .sort((a, b) => a.index - b.index)
