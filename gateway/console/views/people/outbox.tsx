// The outbox: messages that wait, were sent, or could not be delivered.
import { useSignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import { NOTICE_STATES, type Notice, type NoticeState } from '../../../../protocol/notify.ts'
import { link } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { Ago, AsOf, Button, ErrorNote, Loading, Mark, Select, type Tone } from '../../parts/basics.tsx'
import { countText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { noticeActionsOf, outboxOf } from '../../stores/notifications.ts'
import { notifications as texts } from '../../texts/notifications.ts'
import { Past } from './shown.tsx'

const actions = noticeActionsOf(link)

const TONES: Readonly<Record<NoticeState, Tone>> = { waiting: 'busy', sent: 'good', dead: 'bad' }

const State = ({ notice: { state, nextMs, endedMs, error } }: { notice: Notice }) => (
  <span class="stacked">
    <Mark tone={TONES[state]}>{texts.states[state]}</Mark>
    <small class="name" title={error ?? ''}>
      {nextMs === null ? null : texts.next} <Ago timeMs={nextMs ?? endedMs} /> {error}
    </small>
  </span>
)

type Act = (notice: Notice, what: 'retry' | 'drop') => void

const columnsOf = (act: Act): readonly Column<Notice>[] => [
  { name: 'subject', title: texts.notice.subject, cell: ({ subject }) => <span class="name">{subject}</span> },
  { name: 'target', title: texts.notice.target, isExtra: true, cell: ({ target }) => target },
  { name: 'state', title: texts.notice.state, cell: (notice) => <State notice={notice} /> },
  { name: 'made', title: texts.notice.made, isExtra: true, cell: ({ madeMs }) => <Past timeMs={madeMs} /> },
  {
    name: 'attempts',
    title: texts.notice.attempts,
    isNumber: true,
    isExtra: true,
    cell: ({ attempts }) => countText(attempts),
  },
  {
    name: 'actions',
    title: texts.notice.actions,
    isExtra: true,
    cell: (notice) =>
      notice.state === 'sent' || !link.may('notify.retry') ? null : (
        <span class="acts">
          <Button label={texts.retryOf(notice.subject)} onClick={() => act(notice, 'retry')}>
            {texts.retry}
          </Button>
          <Button kind="danger" label={texts.dropOf(notice.subject)} onClick={() => act(notice, 'drop')}>
            {texts.drop}
          </Button>
        </span>
      ),
  },
]

const isState = (text: string | undefined): text is NoticeState =>
  (NOTICE_STATES as readonly (string | undefined)[]).includes(text)

export const Outbox = () => {
  const given = route.value.query['state']
  const state = isState(given) ? given : null
  const notices = useWatched(useMade(() => outboxOf(link, state), state ?? ''))
  const failure = useSignal<VarveError | null>(null)
  const act = async ({ id }: Notice, what: 'retry' | 'drop'): Promise<void> => {
    failure.value = null
    try {
      await actions[what](id)
      await notices.refresh()
    } catch (thrown) {
      failure.value = asVarveError(thrown)
    }
  }
  const rows = notices.rows.value
  const error = notices.error.value
  return (
    <section class="panel outbox">
      <h2>{texts.outbox}</h2>
      <div class="toolbar">
        <Select
          label={texts.stateFilter}
          value={state ?? ''}
          choices={[
            { value: '', text: texts.anyState },
            ...NOTICE_STATES.map((value) => ({ value, text: texts.states[value] })),
          ]}
          onChoose={(value) => filter({ state: value })}
        />
      </div>
      {failure.value === null ? null : <ErrorNote error={failure.value} />}
      <AsOf asOfMs={notices.asOfMs.value} error={error} />
      {rows === null ? (
        error === null ? (
          <Loading rows={3} />
        ) : (
          <ErrorNote error={error} onRetry={() => void notices.refresh()} />
        )
      ) : rows.length === 0 ? (
        <p>{state === null ? texts.noNoticeYet : texts.noNotice}</p>
      ) : (
        <Table
          caption={texts.outboxCaption}
          rows={rows}
          columns={columnsOf((notice, what) => void act(notice, what))}
          keyOf={({ id }) => id}
          onNearEnd={() => void notices.more()}
          rowHeight={52}
        />
      )}
    </section>
  )
}
