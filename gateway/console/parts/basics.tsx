// The small parts of every view: buttons, marks, instants, sizes, and what stands where there is nothing or no answer yet.
import type { ComponentChildren, JSX } from 'preact'
import type { VarveError } from '../../../protocol/errors.ts'
import { nowMs, zone } from '../frame/console.ts'
import { common } from '../texts/common.ts'
import { agoText, bytesText, timeText } from './format.ts'

interface ButtonProps {
  readonly children: ComponentChildren
  readonly onClick?: () => void
  readonly kind?: 'plain' | 'main' | 'danger'
  readonly disabled?: boolean
  /** Said to who cannot see, where the words alone do not tell. */
  readonly label?: string
  readonly type?: 'button' | 'submit'
}

export const Button = ({ children, onClick, kind = 'plain', disabled, label, type = 'button' }: ButtonProps) => (
  <button type={type} class={`button ${kind}`} onClick={onClick} disabled={disabled ?? false} aria-label={label}>
    {children}
  </button>
)

/** What a mark stands for; each has a shape of its own, so that colour is never alone. */
export type Tone = 'good' | 'warn' | 'bad' | 'quiet' | 'busy'

const SHAPES: Readonly<Record<Tone, string>> = {
  good: 'M3 8.5 6.5 12 13 4.5',
  warn: 'M8 2.5 14.5 13.5H1.5ZM8 6.5V10M8 11.6v.6',
  bad: 'M4 4 12 12M12 4 4 12',
  quiet: 'M4 8H12',
  busy: 'M8 2a6 6 0 1 0 6 6',
}

/** A mark with a word beside it. */
export const Mark = ({ tone, children }: { tone: Tone; children?: ComponentChildren }) => (
  <span class={`mark ${tone}`}>
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={SHAPES[tone]} />
    </svg>
    {children}
  </span>
)

/** An instant as its age, with date and time on demand. */
export const Ago = ({ timeMs }: { timeMs: number | null }) => {
  if (timeMs === null) return <span class="quiet">{common.never}</span>
  // what happened since the time of day was told last is not still to come
  const now = Math.max(nowMs.value, Date.now())
  return <time title={timeText(timeMs, zone.value)}>{agoText(timeMs, now)}</time>
}

export const Time = ({ timeMs }: { timeMs: number | null }) =>
  timeMs === null ? <span class="quiet">–</span> : <time>{timeText(timeMs, zone.value)}</time>

export const Bytes = ({ bytes }: { bytes: number | null }) =>
  bytes === null ? (
    <span class="quiet">–</span>
  ) : (
    <span class="number" title={`${bytes.toLocaleString('en')} B`}>
      {bytesText(bytes)}
    </span>
  )

/** An error in its sentence, with its code and a way to try again. */
export const ErrorNote = ({ error, onRetry }: { error: VarveError; onRetry?: () => void }) => (
  <div class="note bad" role="alert">
    <Mark tone="bad">{error.message}</Mark> <code>{error.code}</code>{' '}
    {onRetry === undefined ? null : <Button onClick={onRetry}>{common.tryAgain}</Button>}
  </div>
)

/** What stands where there is nothing: that it is so, and what to do first. */
export const Empty = ({ title, children }: { title: string; children?: ComponentChildren }) => (
  <div class="empty">
    <h2>{title}</h2>
    {children}
  </div>
)

/** Takes the room of what is being read, so that nothing jumps. */
export const Loading = ({ rows = 6 }: { rows?: number }) => (
  <div class="loading" role="status" aria-label={common.loading}>
    {Array.from({ length: rows }, (_, index) => (
      <div key={index} class="bone" />
    ))}
  </div>
)

/** How old what is shown is, where it is not new. */
export const AsOf = ({ asOfMs, error }: { asOfMs: number | null; error: VarveError | null }) => {
  if (asOfMs === null || (error === null && nowMs.value - asOfMs < 60_000)) return null
  return (
    <p class="as-of" role="status">
      {common.asOf(agoText(asOfMs, nowMs.value))} {error === null ? null : error.message}
    </p>
  )
}

/** A part of a whole as a bar; `share` past 1 is drawn full. */
export const Bar = ({ share, tone, label }: { share: number; tone: Tone; label: string }) => (
  <span class="bar" role="img" aria-label={label} title={label}>
    <span class={`fill ${tone}`} style={{ width: `${Math.min(1, Math.max(0, share)) * 100}%` }} />
  </span>
)

type FieldProps = { readonly label: string; readonly hint?: string } & JSX.IntrinsicElements['input']

/** An input with its label. */
export const Field = ({ label, hint, ...input }: FieldProps) => (
  <label class="field">
    <span>{label}</span>
    <input {...input} />
    {hint === undefined ? null : <small>{hint}</small>}
  </label>
)

interface SearchProps {
  readonly label: string
  readonly value: string
  /** In characters. */
  readonly maxLength?: number
  readonly onInput: (text: string) => void
}

/** A field for what is looked for, which no browser corrects or remembers. */
export const Search = ({ label, value, maxLength, onInput }: SearchProps) => (
  <Field
    label={label}
    type="search"
    autocomplete="off"
    spellcheck={false}
    value={value}
    maxLength={maxLength}
    onInput={(event) => onInput(event.currentTarget.value)}
  />
)

export interface Choice {
  readonly value: string
  readonly text: string
}

interface SelectProps {
  readonly label: string
  readonly value: string
  readonly choices: readonly Choice[]
  readonly onChoose: (value: string) => void
}

export const Select = ({ label, value, choices, onChoose }: SelectProps) => (
  <label class="field">
    <span>{label}</span>
    <select value={value} onChange={(event) => onChoose(event.currentTarget.value)}>
      {choices.map((choice) => (
        <option key={choice.value} value={choice.value}>
          {choice.text}
        </option>
      ))}
    </select>
  </label>
)
