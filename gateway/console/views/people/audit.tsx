// The audit log from its newest entry on: searched, with the state of its chain.
import { useSignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import { link, zone } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { AsOf, Button, Empty, ErrorNote, Loading, Mark, Search } from '../../parts/basics.tsx'
import { countText, timeText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { auditOf, checkAudit, type AuditChain, type AuditEntry } from '../../stores/people.ts'
import { Past } from './shown.tsx'
import { audit as texts, people } from '../../texts/people.ts'

/** Longest part of an entry that is looked for, in characters. */
const CONTAINS_MAX = 128

const Outcome = ({ outcome }: { outcome: string }) => {
  if (outcome === 'ok') return <Mark tone="good">{texts.ok}</Mark>
  if (outcome === 'begun') return <Mark tone="busy">{texts.begun}</Mark>
  return <Mark tone="bad">{outcome}</Mark>
}

/** Day and time of day, one below the other, so that a narrow row has its height. */
const Instant = ({ timeMs }: { timeMs: number }) => {
  const [day = '', time = ''] = timeText(timeMs, zone.value).split(' ')
  return (
    <time class="stacked" dateTime={new Date(timeMs).toISOString()}>
      <span class="number">{time}</span>
      <small>{day}</small>
    </time>
  )
}

const COLUMNS: readonly Column<AuditEntry>[] = [
  { name: 'seq', title: texts.columns.seq, isNumber: true, isExtra: true, cell: ({ seq }) => countText(seq) },
  { name: 'time', title: texts.columns.time, cell: ({ timeMs }) => <Instant timeMs={timeMs} /> },
  {
    name: 'subject',
    title: texts.columns.subject,
    cell: ({ subject, role }) => (
      <span class="stacked">
        <span class="name">{subject === '' ? '–' : subject}</span>
        <small>{role}</small>
      </span>
    ),
  },
  {
    name: 'action',
    title: texts.columns.action,
    cell: ({ action, resource }) => (
      <span class="stacked">
        <code>{action}</code>
        <small class="name" title={resource}>
          {resource}
        </small>
      </span>
    ),
  },
  { name: 'outcome', title: texts.columns.outcome, cell: ({ outcome }) => <Outcome outcome={outcome} /> },
  {
    name: 'details',
    title: texts.columns.details,
    isExtra: true,
    cell: ({ details }) => (
      <span class="details" title={details}>
        {details === '{}' ? '' : details}
      </span>
    ),
  },
]

const Chain = ({ chain }: { chain: AuditChain }) => {
  if (chain === null) return <Mark tone="quiet">{texts.chainUnknown}</Mark>
  return (
    <Mark tone={chain.whole ? 'good' : 'bad'}>
      <span>
        {chain.whole ? texts.chainWhole : texts.chainBroken} <Past timeMs={chain.checkedMs} />.
      </span>
    </Mark>
  )
}

type Checked = { readonly entries: number; readonly brokenSeq: number | null }

/** The platform has the whole log checked at once. */
const Check = () => {
  const looked = useSignal<number | null>(null)
  const checked = useSignal<Checked | null>(null)
  const error = useSignal<VarveError | null>(null)
  const check = async (): Promise<void> => {
    looked.value = 0
    checked.value = null
    error.value = null
    try {
      checked.value = await checkAudit(link, (entries) => (looked.value = entries))
    } catch (thrown) {
      error.value = asVarveError(thrown)
    }
    looked.value = null
  }
  const found = checked.value
  return (
    <>
      <Button disabled={looked.value !== null} onClick={() => void check()}>
        {texts.check}
      </Button>
      <span role="status">
        {looked.value === null ? null : <Mark tone="busy">{texts.checking(countText(looked.value))}</Mark>}
        {found === null ? null : found.brokenSeq === null ? (
          <Mark tone="good">{texts.checkedWhole(countText(found.entries))}</Mark>
        ) : (
          <Mark tone="bad">{texts.checkedBroken(countText(found.brokenSeq))}</Mark>
        )}
      </span>
      {error.value === null ? null : <ErrorNote error={error.value} />}
    </>
  )
}

/** What is looked for is asked for when it is whole: each time the log is gone through. */
const Wanted = ({ contains, failed }: { contains: string | null; failed: boolean }) => {
  const text = useSignal(contains ?? '')
  return (
    <form
      class="toolbar"
      role="search"
      onSubmit={(event) => {
        event.preventDefault()
        filter({ contains: text.value.trim() })
      }}
    >
      <Search
        label={texts.contains}
        value={text.value}
        maxLength={CONTAINS_MAX}
        onInput={(written) => (text.value = written)}
      />
      <Button type="submit">{people.search}</Button>
      <label class="check">
        <input
          type="checkbox"
          checked={failed}
          onChange={(event) => filter({ failed: event.currentTarget.checked ? 'yes' : null })}
        />
        {texts.failed}
      </label>
    </form>
  )
}

export const Audit = () => {
  const { contains = null, failed } = route.value.query
  const isFailed = failed === 'yes'
  const isSearch = contains !== null || isFailed
  const chain = useSignal<AuditChain>(null)
  const make = () => auditOf(link, { contains, failed: isFailed }, (told) => (chain.value = told))
  const entries = useWatched(useMade(make, JSON.stringify([contains, isFailed])))
  const rows = entries.rows.value
  const error = entries.error.value
  const goesOn = entries.next.value !== null
  const further = <Button onClick={() => void entries.more()}>{texts.further}</Button>
  return (
    <>
      <Wanted key={contains ?? ''} contains={contains} failed={isFailed} />
      <div class="toolbar">
        {rows === null ? null : <Chain chain={chain.value} />}
        {link.may('audit.check') ? <Check /> : null}
      </div>
      {rows === null ? (
        error === null ? (
          <Loading />
        ) : (
          <ErrorNote error={error} onRetry={() => void entries.refresh()} />
        )
      ) : (
        <>
          <AsOf asOfMs={isSearch ? null : entries.asOfMs.value} error={error} />
          {rows.length === 0 ? (
            <Empty title={isSearch ? texts.none : texts.noneYet}>
              {goesOn ? <p>{texts.notAll}</p> : null}
              {goesOn ? further : null}{' '}
              <Button onClick={() => filter({ contains: null, failed: null })}>{texts.showAll}</Button>
            </Empty>
          ) : (
            <>
              <Table
                caption={texts.caption}
                rows={rows}
                columns={COLUMNS}
                keyOf={({ seq }) => String(seq)}
                onNearEnd={() => void entries.more()}
                rowHeight={52}
              />
              {goesOn && isSearch ? <div class="toolbar">{further}</div> : null}
            </>
          )}
        </>
      )}
    </>
  )
}
