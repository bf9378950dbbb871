// Tenants as the platform sees them: counts of machines without their names, what each takes, and its quota.
import { useSignal } from '@preact/signals'
import { UNPROTECTED, MACHINE_STATES, type StateCounts } from '../../../../protocol/coverage.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import { link } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { Bar, Button, Bytes, Empty, Field, Mark, type Tone } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { bytesText, countText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { actionsOf, tenantsOf, type Tenant } from '../../stores/people.ts'
import { tenants as texts } from '../../texts/people.ts'
import { bytesOfGib, gibOfBytes } from './gib.ts'
import { Cut, Past, Read } from './shown.tsx'

const TENANTS = tenantsOf(link)
const actions = actionsOf(link)

/** Chunks of a new tenant, in bytes: what the command line makes, too. */
const CHUNK_BYTES = 64 * 1024

/** Days until a quota is full that are few. */
const FEW_DAYS = 14

const Protected = ({ counts }: { counts: StateCounts }) => {
  const all = MACHINE_STATES.reduce((sum, state) => sum + counts[state], 0)
  const bad = UNPROTECTED.reduce((sum, state) => sum + counts[state], 0)
  if (all === 0) return <Mark tone="quiet">{texts.noMachines}</Mark>
  const kept = all - counts.archived - counts.excluded
  if (bad > 0) return <Mark tone="bad">{texts.notGood(countText(bad), countText(kept))}</Mark>
  return <Mark tone="good">{texts.allGood(countText(kept))}</Mark>
}

const Quota = ({ tenant: { packBytes, quota } }: { tenant: Tenant }) => {
  const limit = quota.hardBytes ?? quota.softBytes
  if (limit === null) return <span class="quiet">{texts.noQuota}</span>
  const isHard = quota.hardBytes !== null && packBytes >= quota.hardBytes
  const isSoft = quota.softBytes !== null && packBytes >= quota.softBytes
  const tone: Tone = isHard ? 'bad' : isSoft ? 'warn' : 'good'
  const text = texts.quotaOf(bytesText(packBytes), bytesText(limit))
  return (
    <span class="stacked">
      <small>{isHard || isSoft ? <Mark tone={tone}>{text}</Mark> : text}</small>
      <Bar share={packBytes / limit} tone={tone} label={text} />
    </span>
  )
}

const Left = ({ tenant: { covered } }: { tenant: Tenant }) => {
  const daysLeft = covered?.quota.hard.daysLeft ?? covered?.quota.soft.daysLeft ?? null
  if (daysLeft === null) return <span class="quiet">–</span>
  const text = texts.days(countText(daysLeft))
  return daysLeft < FEW_DAYS ? <Mark tone="warn">{text}</Mark> : <span>{text}</span>
}

const columnsOf = (setQuota: (tenant: Tenant) => void): readonly Column<Tenant>[] => [
  { name: 'name', title: texts.columns.name, cell: ({ name }) => <span class="name">{name}</span> },
  {
    name: 'protection',
    title: texts.columns.protection,
    cell: ({ covered }) => (covered === null ? null : <Protected counts={covered.counts} />),
  },
  {
    name: 'used',
    title: texts.columns.used,
    isNumber: true,
    isExtra: true,
    cell: ({ packBytes }) => <Bytes bytes={packBytes} />,
  },
  { name: 'quota', title: texts.columns.quota, isExtra: true, cell: (tenant) => <Quota tenant={tenant} /> },
  { name: 'left', title: texts.columns.left, isExtra: true, cell: (tenant) => <Left tenant={tenant} /> },
  {
    name: 'created',
    title: texts.columns.created,
    isExtra: true,
    cell: ({ createdMs }) => <Past timeMs={createdMs} />,
  },
  {
    name: 'actions',
    title: texts.columns.actions,
    cell: (tenant) => (
      <span class="acts">
        <Button label={texts.quotaActionOf(tenant.name)} onClick={() => setQuota(tenant)}>
          {texts.quotaAction}
        </Button>
        <a href={to('people', ['tokens'], { tenant: tenant.name })} aria-label={texts.tokensOf(tenant.name)}>
          {texts.tokens}
        </a>
        <a href={to('people', ['enrol'], { tenant: tenant.name })} aria-label={texts.enrolOf(tenant.name)}>
          {texts.enrol}
        </a>
      </span>
    ),
  },
]

const QuotaAsked = ({ tenant, onClose }: { tenant: Tenant; onClose: () => void }) => {
  const soft = useSignal(gibOfBytes(tenant.quota.softBytes))
  const hard = useSignal(gibOfBytes(tenant.quota.hardBytes))
  const set = async (): Promise<void> => {
    const [softBytes, hardBytes] = [bytesOfGib(soft.value), bytesOfGib(hard.value)]
    if (softBytes === undefined || hardBytes === undefined) throw new VarveError('PARAMS_INVALID', texts.wrongNumber)
    await actions.setQuota({ tenant: tenant.name, softBytes, hardBytes })
    await TENANTS.refresh()
  }
  const hardBytes = bytesOfGib(hard.value) ?? null
  return (
    <Ask title={texts.quotaTitle(tenant.name)} action={texts.setQuota} onYes={set} onClose={onClose}>
      <p>{texts.quotaIntro}</p>
      {(
        [
          [texts.soft, soft],
          [texts.hard, hard],
        ] as const
      ).map(([label, value]) => (
        <Field
          key={label}
          label={label}
          hint={texts.gib}
          inputMode="decimal"
          autocomplete="off"
          value={value.value}
          onInput={(event) => (value.value = event.currentTarget.value)}
        />
      ))}
      {hardBytes !== null && hardBytes <= tenant.packBytes ? (
        <Mark tone="warn">{texts.hardBelowUsed(bytesText(tenant.packBytes))}</Mark>
      ) : null}
    </Ask>
  )
}

const Add = ({ onClose }: { onClose: () => void }) => {
  const name = useSignal('')
  const firstPlan = useSignal(true)
  const add = async (): Promise<void> => {
    await actions.addTenant({ tenant: name.value.trim(), chunkBytes: CHUNK_BYTES, firstPlan: firstPlan.value })
    await TENANTS.refresh()
  }
  return (
    <Ask title={texts.addTitle} action={texts.addAction} onYes={add} onClose={onClose}>
      <p>{texts.addIntro}</p>
      <Field
        label={texts.name}
        hint={texts.nameHint}
        value={name.value}
        required
        autocomplete="off"
        onInput={(event) => (name.value = event.currentTarget.value)}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={firstPlan.value}
          onChange={(event) => (firstPlan.value = event.currentTarget.checked)}
        />
        {texts.firstPlan}
      </label>
    </Ask>
  )
}

export const Tenants = () => {
  const tenants = useWatched(TENANTS)
  const adding = useSignal(false)
  const quota = useSignal<Tenant | null>(null)
  return (
    <>
      <div class="toolbar">
        <Button kind="main" onClick={() => (adding.value = true)}>
          {texts.add}
        </Button>
      </div>
      <Read of={tenants}>
        {({ rows, isCut }) =>
          rows.length === 0 ? (
            <Empty title={texts.empty}>
              <p>{texts.addIntro}</p>
            </Empty>
          ) : (
            <>
              <Cut isCut={isCut} />
              <Table
                caption={texts.caption}
                rows={rows}
                columns={columnsOf((tenant) => (quota.value = tenant))}
                keyOf={({ id }) => id}
                rowHeight={52}
              />
            </>
          )
        }
      </Read>
      {adding.value ? <Add onClose={() => (adding.value = false)} /> : null}
      {quota.value === null ? null : <QuotaAsked tenant={quota.value} onClose={() => (quota.value = null)} />}
    </>
  )
}

/** The same as a view of its own: what the platform sees first. */
export const TenantsFirst = () => (
  <div class="people fills">
    <h1 class="hidden">{texts.title}</h1>
    <Tenants />
  </div>
)
