// What every part of the view does with something that is read: bones until it is there, its error, its age.
import type { ComponentChildren } from 'preact'
import { nowMs } from '../../frame/console.ts'
import { Ago, AsOf, ErrorNote, Loading } from '../../parts/basics.tsx'
import { countText } from '../../parts/format.ts'
import type { Resource } from '../../net/resource.ts'
import { people as texts } from '../../texts/people.ts'
import { WHOLE_ROWS_MAX } from '../../stores/people.ts'

interface ReadProps<T> {
  readonly of: Resource<T>
  readonly children: (value: T) => ComponentChildren
}

export const Read = <T,>({ of, children }: ReadProps<T>) => {
  const value = of.value.value
  const error = of.error.value
  if (value === null)
    return error === null ? <Loading /> : <ErrorNote error={error} onRetry={() => void of.refresh()} />
  return (
    <>
      <AsOf asOfMs={of.asOfMs.value} error={error} />
      {children(value)}
    </>
  )
}

/** An instant that is over: never as one that is to come, whichever clock is ahead a little. */
export const Past = ({ timeMs }: { timeMs: number | null }) => (
  <Ago timeMs={timeMs === null ? null : Math.min(timeMs, nowMs.value)} />
)

/** Says that a list goes on behind what is shown. */
export const Cut = ({ isCut }: { isCut: boolean }) =>
  isCut ? <p class="quiet">{texts.cut(countText(WHOLE_ROWS_MAX))}</p> : null

/** Lives that tokens can have, in milliseconds, by the names of their texts. */
export const LIFETIMES = {
  hour: 3_600_000,
  day: 24 * 3_600_000,
  week: 7 * 24 * 3_600_000,
  month: 30 * 24 * 3_600_000,
  quarter: 90 * 24 * 3_600_000,
} as const satisfies Record<keyof (typeof texts)['lifetimes'], number>
export type Lifetime = keyof typeof LIFETIMES

export const lifetimeChoices = (names: readonly Lifetime[]): { value: Lifetime; text: string }[] =>
  names.map((value) => ({ value, text: texts.lifetimes[value] }))
