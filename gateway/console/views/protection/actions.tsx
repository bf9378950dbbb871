// What can be done with the machines that are chosen: back up, exclude, include; and what became of it, machine by machine.
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { link } from '../../frame/console.ts'
import { Button, Field, Mark, Select } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { DAY_MS, plainText } from '../../parts/format.ts'
import { Many } from '../../stores/many.ts'
import { protection as texts } from '../../texts/protection.ts'

export const MANY = new Many()

/** Names that a sentence has; of more it says how many. */
const NAMED_MAX = 5

/** Refusals that are shown. */
const REFUSED_MAX = 20

type Action = 'backup' | 'exclude' | 'include'

export const mayAct = (): boolean =>
  link.may('backup.start') || link.may('machines.exclude') || link.may('machines.include')

interface DialogProps {
  readonly machines: readonly string[]
  readonly onClose: () => void
  /** Something was done with these: what is shown is old. */
  readonly onDone: (machines: readonly string[]) => void
}

interface AskedProps extends DialogProps {
  readonly action: Action
  readonly work: (machine: string) => Promise<unknown>
  readonly children?: ComponentChildren
}

const Asked = ({ action, machines, work, onClose, onDone, children }: AskedProps) => {
  const words = texts[action]
  const named = machines.slice(0, NAMED_MAX).join(', ')
  const begin = (): Promise<void> => {
    // the dialog closes at once: how far it is stands above the list
    void MANY.run(words.title(machines.length), machines, work).then(() => onDone(machines))
    return Promise.resolve()
  }
  return (
    <Ask title={words.title(machines.length)} action={words.action} onYes={begin} onClose={onClose}>
      <p class="names">{words.body(named, Math.max(0, machines.length - NAMED_MAX))}</p>
      {children}
    </Ask>
  )
}

const UNTIL_DAYS: Readonly<Record<keyof typeof texts.exclude.choices, number | null>> = {
  day: 1,
  week: 7,
  month: 30,
  never: null,
}

const Exclude = (props: DialogProps) => {
  const reason = useSignal('')
  const until = useSignal<keyof typeof UNTIL_DAYS>('week')
  const work = (machine: string): Promise<unknown> => {
    const days = UNTIL_DAYS[until.value]
    const untilMs = days === null ? null : Date.now() + days * DAY_MS
    return link.call('machines.exclude', { machine, reason: reason.value.trim(), untilMs })
  }
  return (
    <Asked {...props} action="exclude" work={work}>
      <Field
        label={texts.exclude.reason}
        hint={texts.exclude.reasonHint}
        value={reason.value}
        required
        pattern=".*\S.*"
        maxLength={1024}
        onInput={(event) => (reason.value = event.currentTarget.value)}
      />
      <Select
        label={texts.exclude.until}
        value={until.value}
        choices={Object.entries(texts.exclude.choices).map(([value, text]) => ({ value, text }))}
        onChoose={(value) => (until.value = value as keyof typeof UNTIL_DAYS)}
      />
    </Asked>
  )
}

const Backup = (props: DialogProps) => (
  <Asked {...props} action="backup" work={(machine) => link.call('backup.start', { machine, full: false })} />
)

const Include = (props: DialogProps) => (
  <Asked {...props} action="include" work={(machine) => link.call('machines.include', { machine })} />
)

const DIALOGS = { backup: Backup, exclude: Exclude, include: Include } as const

const METHODS = { backup: 'backup.start', exclude: 'machines.exclude', include: 'machines.include' } as const

interface ActionsProps {
  readonly chosen: readonly string[]
  /** Of all that match, chosen or not; null where that is not known. */
  readonly count: number | null
  readonly onChooseAll: () => void
  readonly onClear: () => void
  readonly onDone: (machines: readonly string[]) => void
}

const Bar = ({
  chosen,
  count,
  onChooseAll,
  onClear,
  onOpen,
}: Omit<ActionsProps, 'onDone'> & { onOpen: (action: Action) => void }) => (
  <div class="chosen" role="group" aria-label={texts.actions}>
    <strong role="status">{texts.chosen(chosen.length)}</strong>
    {(['backup', 'exclude', 'include'] as const)
      .filter((action) => link.may(METHODS[action]))
      .map((action) => (
        <Button key={action} kind={action === 'backup' ? 'main' : 'plain'} onClick={() => onOpen(action)}>
          {texts[action].action}
        </Button>
      ))}
    {count !== null && count <= chosen.length ? null : (
      <Button onClick={onChooseAll}>{texts.allMatching(count)}</Button>
    )}
    <Button onClick={onClear}>{texts.clear}</Button>
  </div>
)

/** A dialog keeps the machines that it was opened for, whatever becomes of the choice behind it. */
export const Actions = ({ onDone, ...bar }: ActionsProps) => {
  const { chosen } = bar
  const open = useSignal<{ readonly action: Action; readonly machines: readonly string[] } | null>(null)
  const Shown = open.value === null ? null : DIALOGS[open.value.action]
  return (
    <>
      {chosen.length === 0 ? null : <Bar {...bar} onOpen={(action) => (open.value = { action, machines: chosen })} />}
      {Shown === null ? null : (
        <Shown machines={open.value!.machines} onClose={() => (open.value = null)} onDone={onDone} />
      )}
    </>
  )
}

/** How far the last work on many machines is, and which of them were refused. */
export const Outcome = () => {
  const state = MANY.state.value
  if (state === null) return null
  const { title, count, done, refused, isOver } = state
  const tone = refused.length > 0 ? 'bad' : isOver ? 'good' : 'busy'
  return (
    <div class={`note outcome ${refused.length > 0 ? 'bad' : 'good'}`} role="status">
      <Mark tone={tone}>
        {title}:{' '}
        {isOver
          ? refused.length > 0
            ? texts.many.refused(refused.length, count)
            : texts.many.done(count)
          : texts.many.running(done, count)}
      </Mark>
      {refused.length === 0 ? null : (
        <ul>
          {refused.slice(0, REFUSED_MAX).map(({ machine, error }) => (
            <li key={machine}>
              <strong>{machine}</strong>: {plainText(error.message)} <code>{error.code}</code>
            </li>
          ))}
          {refused.length > REFUSED_MAX ? <li>{texts.many.more(refused.length - REFUSED_MAX)}</li> : null}
        </ul>
      )}
      {isOver ? <Button onClick={() => MANY.putAway()}>{texts.putAway}</Button> : null}
    </div>
  )
}
