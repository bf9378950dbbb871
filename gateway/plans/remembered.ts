// Values that follow from a text alone and take long to find: kept for when the text comes again. Pure, seen from outside.

/** The same function, with `most` of its answers kept; all are let go once there are so many. */
export const remembered = <Value>(find: (text: string) => Value, most: number): ((text: string) => Value) => {
  const known = new Map<string, Value>()
  return (text) => {
    const before = known.get(text)
    if (before !== undefined) return before
    const found = find(text)
    if (known.size >= most) known.clear()
    known.set(text, found)
    return found
  }
}
