// Actions of the one transaction that starts a lease. Pure.

export interface TransactionAction {
  readonly type: 'block-dirty-bitmap-add' | 'block-dirty-bitmap-merge' | 'blockdev-backup'
  readonly data: Readonly<Record<string, unknown>>
}

/** A bitmap of a node. */
export interface NodeBitmap {
  readonly node: string
  readonly name: string
}

export const addBitmap = (data: Readonly<Record<string, unknown>>): TransactionAction => ({
  type: 'block-dirty-bitmap-add',
  data,
})

/** Copies a bitmap, of whatever node, into one of `node`. */
export const copyBitmap = (node: string, target: string, from: NodeBitmap): TransactionAction => ({
  type: 'block-dirty-bitmap-merge',
  data: { node, target, bitmaps: [from] },
})
