// Mutes: what is not told for a while, and why.
import { useSignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import type { Severity } from '../../../../protocol/events.ts'
import type { Mute } from '../../../../protocol/notify.ts'
import { link } from '../../frame/console.ts'
import { Ago, Button, ErrorNote, Field, Select } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { DAY_MS, HOUR_MS } from '../../parts/format.ts'
import type { Column } from '../../parts/table.tsx'
import { noticeActionsOf } from '../../stores/notifications.ts'
import { notifications as texts } from '../../texts/notifications.ts'
import { MatchFields } from './match-fields.tsx'
import { matchOf, matchText } from './match-text.ts'
import { Rows } from './rows.tsx'

const actions = noticeActionsOf(link)

const SPANS = { hour: HOUR_MS, night: 12 * HOUR_MS, week: 7 * DAY_MS } as const
type Span = keyof typeof SPANS

const columnsOf = (end: (mute: Mute) => void): readonly Column<Mute>[] => [
  { name: 'what', title: texts.mute.what, cell: ({ match }) => matchText(match) },
  { name: 'reason', title: texts.mute.reason, cell: ({ reason }) => <span class="name">{reason}</span> },
  { name: 'by', title: texts.mute.by, isExtra: true, cell: ({ by }) => by },
  { name: 'ends', title: texts.mute.ends, cell: ({ untilMs }) => <Ago timeMs={untilMs} /> },
  {
    name: 'actions',
    title: texts.mute.actions,
    cell: (mute) =>
      link.may('notify.unmute') ? (
        <Button label={texts.unmuteOf(mute.reason)} onClick={() => end(mute)}>
          {texts.unmute}
        </Button>
      ) : null,
  },
]

const Add = ({ onAdded, onClose }: { onAdded: () => Promise<void>; onClose: () => void }) => {
  const severity = useSignal<Severity>('info')
  const machines = useSignal('')
  const reason = useSignal('')
  const span = useSignal<Span>('hour')
  const add = async (): Promise<void> => {
    const match = matchOf({ severity: severity.value, machines: machines.value })
    await actions.mute({ match, reason: reason.value.trim(), untilMs: Date.now() + SPANS[span.value] })
    await onAdded()
  }
  return (
    <Ask title={texts.addMuteTitle} action={texts.muteAction} onYes={add} onClose={onClose}>
      <MatchFields severity={severity} machines={machines} />
      <Field
        label={texts.reason}
        value={reason.value}
        required
        autocomplete="off"
        onInput={(event) => (reason.value = event.currentTarget.value)}
      />
      <Select
        label={texts.muteFor}
        value={span.value}
        choices={Object.entries(texts.muteSpans).map(([value, text]) => ({ value, text }))}
        onChoose={(value) => (span.value = value as Span)}
      />
    </Ask>
  )
}

export const Mutes = ({ mutes, onChange }: { mutes: readonly Mute[]; onChange: () => Promise<void> }) => {
  const adding = useSignal(false)
  const error = useSignal<VarveError | null>(null)
  const end = async ({ id }: Mute): Promise<void> => {
    error.value = null
    try {
      await actions.unmute(id)
      await onChange()
    } catch (thrown) {
      error.value = asVarveError(thrown)
    }
  }
  return (
    <section class="panel">
      <h2>{texts.mutes}</h2>
      <p>{texts.mutesIntro}</p>
      {error.value === null ? null : <ErrorNote error={error.value} />}
      {mutes.length === 0 ? (
        <p>{texts.noMute}</p>
      ) : (
        <Rows
          caption={texts.mutesCaption}
          rows={mutes}
          columns={columnsOf((mute) => void end(mute))}
          keyOf={({ id }) => id}
        />
      )}
      {link.may('notify.mute') ? (
        <div class="actions">
          <Button onClick={() => (adding.value = true)}>{texts.addMute}</Button>
        </div>
      ) : null}
      {adding.value ? <Add onAdded={onChange} onClose={() => (adding.value = false)} /> : null}
    </section>
  )
}
