// Which rows of a long list are drawn: those in sight and some around them. Pure.

export interface Window {
  /** The first row that is drawn, and the one after the last. */
  readonly from: number
  readonly to: number
}

/** Rows drawn beyond both edges, so that scrolling never shows a gap. */
const MARGIN_ROWS = 12

/** Rows of equal height, `scrolled` pixels of them above the upper edge of `height` visible ones. */
export const windowOf = (list: { count: number; rowHeight: number }, scrolled: number, height: number): Window => {
  const { count, rowHeight } = list
  const first = Math.floor(Math.max(0, scrolled) / rowHeight)
  const shown = Math.ceil(height / rowHeight)
  return { from: Math.max(0, Math.min(first - MARGIN_ROWS, count)), to: Math.min(count, first + shown + MARGIN_ROWS) }
}
