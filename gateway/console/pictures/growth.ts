// How bytes have grown day by day, and where that leads, as lines in a box. Pure.

export interface GrowthAsked {
  /** One a day, the oldest first. */
  readonly samples: readonly { readonly day: number; readonly bytes: number }[]
  readonly today: number
  /** Used now. */
  readonly usedBytes: number
  /** Null where nothing is foreseen. */
  readonly bytesPerDay: number | null
  /** Quotas, or how much of the disk may be used. */
  readonly limits: readonly number[]
}

export interface Box {
  readonly width: number
  readonly height: number
}

export interface Growth {
  /** SVG paths: what was, the ground below it, and what is foreseen (empty where nothing is). */
  readonly line: string
  readonly area: string
  readonly forecast: string
  readonly firstDay: number
  readonly lastDay: number
  readonly mostBytes: number
  readonly x: (day: number) => number
  readonly y: (bytes: number) => number
  /** Limits within sight. */
  readonly limits: readonly number[]
  /** Round figures for lines across, the least first. */
  readonly ticks: readonly number[]
}

/** Days that a forecast is drawn ahead. */
export const AHEAD_DAYS = 30

/** A limit that is so many times what is used is out of sight: the picture would be a flat line. */
const LIMIT_TIMES = 4

const TICKS = 4

/** The least round figure (1, 2 or 5 in a binary unit) that is not smaller. */
export const roundUp = (bytes: number): number => {
  if (bytes <= 1) return 1
  const unit = 1024 ** Math.floor(Math.log(bytes) / Math.log(1024))
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1024]
  return unit * (steps.find((step) => step * unit >= bytes) ?? 1024)
}

const number = (value: number): string => String(Math.round(value * 10) / 10)

export const growthOf = (asked: GrowthAsked, { width, height }: Box): Growth => {
  const { samples, today, usedBytes, bytesPerDay, limits } = asked
  // the day is not over: what is used now is nearer than its sample
  const known = [...samples.filter(({ day }) => day < today), { day: today, bytes: usedBytes }]
  const firstDay = Math.min(known[0]!.day, today - 1)
  const ahead = bytesPerDay === null ? 0 : Math.min(AHEAD_DAYS, Math.max(7, today - firstDay))
  const lastDay = today + ahead
  const foreseen = Math.max(0, usedBytes + (bytesPerDay ?? 0) * ahead)
  const highest = Math.max(foreseen, ...known.map(({ bytes }) => bytes), 1)
  const near = limits.filter((limit) => limit <= highest * LIMIT_TIMES)
  const step = roundUp(Math.max(highest, ...near) / TICKS)
  const mostBytes = step * Math.max(1, Math.ceil((Math.max(highest, ...near) * 1.02) / step))
  const x = (day: number): number => ((day - firstDay) / (lastDay - firstDay)) * width
  const y = (bytes: number): number => height - (bytes / mostBytes) * height
  const at = (day: number, bytes: number): string => `${number(x(day))} ${number(y(bytes))}`
  const line = known.map(({ day, bytes }, index) => `${index === 0 ? 'M' : 'L'}${at(day, bytes)}`).join('')
  return {
    line,
    area: `${line}L${number(x(today))} ${height}L${number(x(known[0]!.day))} ${height}Z`,
    forecast: ahead === 0 ? '' : `M${at(today, usedBytes)}L${at(lastDay, foreseen)}`,
    firstDay,
    lastDay,
    mostBytes,
    x,
    y,
    limits: near,
    ticks: Array.from({ length: Math.round(mostBytes / step) + 1 }, (_, index) => index * step),
  }
}
