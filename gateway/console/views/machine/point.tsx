// One restore point: what it is worth, what keeps it, what it took, and what a person may do with it.
import { useSignal } from '@preact/signals'
import { asVarveError, VarveError } from '../../../../protocol/errors.ts'
import type { Point } from '../../../../protocol/schemas.ts'
import { link, nowMs, zone } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import type { Resource } from '../../net/resource.ts'
import { Ago, Button, Bytes, ErrorNote, Field, Mark, Time } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { bytesText, durationText, timeText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { holdPoint, lockPoint, type Keeps } from '../../stores/points.ts'
import { machine as texts } from '../../texts/machine.ts'
import { points as words } from '../../texts/points.ts'
import { isLocked, isUsed } from './badges.tsx'
import { Drills } from './drills.tsx'
import { Fact } from './facts.tsx'
import { LOCK_DAYS, LOCK_DAYS_MAX, lockOf } from './lock.ts'
import { frozenText, scratchText, stepsText } from './took.ts'
import type { Usages } from './usages.ts'

const KeptBy = ({ point, keeps }: { point: Point; keeps: Resource<Keeps> }) => {
  const { value, error } = useWatched(keeps)
  const keptBy = value.value?.get(point.id)
  if (error.value !== null) return <ErrorNote error={error.value} onRetry={() => void keeps.refresh()} />
  if (keptBy === undefined) return null
  return (
    <Fact name={texts.point.kept}>
      {keptBy.length === 0 ? (
        <Mark tone="warn">{texts.point.goes}</Mark>
      ) : (
        keptBy.map((reason) => words.keeps[reason]).join(', ')
      )}
    </Fact>
  )
}

const Frees = ({ point, usages }: { point: Point; usages: Usages }) => {
  const asked = usages.asked.value
  if (!usages.mayAsk) return null
  return (
    <Fact name={texts.point.frees}>
      {asked.kind === 'known' ? <Bytes bytes={usages.freedBy(point.id)} /> : null}
      {asked.kind === 'asked' ? <Mark tone="busy">{texts.point.asking}</Mark> : null}
      {asked.kind === 'not asked' || asked.kind === 'failed' ? (
        <Button onClick={() => void usages.ask()}>{texts.point.askFrees}</Button>
      ) : null}
      {asked.kind === 'failed' ? <ErrorNote error={asked.error} /> : null}
    </Fact>
  )
}

const Steps = ({ point: { took } }: { point: Point }) => {
  const text = stepsText(took)
  if (text === null) return null
  return (
    <Fact name={texts.point.steps} isLong>
      {text}
    </Fact>
  )
}

const PointFacts = ({
  point,
  keeps,
  usages,
}: Omit<PanelProps, 'point' | 'machine' | 'onChanged'> & { point: Point }) => (
  <dl class="facts">
    <Fact name={texts.point.kind}>
      {words.kinds[point.kind]}
      {point.kind === 'full' ? (
        <>
          {': '}
          {words.reasons[point.reason]}
        </>
      ) : null}
    </Fact>
    <Fact name={texts.point.consistency}>{words.consistencies[point.consistency]}</Fact>
    <Fact name={texts.point.verified}>
      {point.verifiedMs === null ? texts.point.notVerified : <Ago timeMs={point.verifiedMs} />}
    </Fact>
    <Fact name={texts.point.lost}>
      {point.lostBytes === 0 ? (
        texts.point.noLoss
      ) : (
        <Mark tone="bad">{texts.point.lostBytes(bytesText(point.lostBytes))}</Mark>
      )}
    </Fact>
    {keeps === null ? null : <KeptBy point={point} keeps={keeps} />}
    {isUsed(point, nowMs.value) ? (
      <Fact name={texts.point.used} isLong>
        {texts.point.usedSays} <Ago timeMs={point.usedUntilMs} />.
      </Fact>
    ) : null}
    {point.lockedUntilMs !== null && isLocked(point, nowMs.value) ? (
      <Fact name={texts.point.locked}>
        <Time timeMs={point.lockedUntilMs} />
      </Fact>
    ) : null}
    <Fact name={texts.point.read}>
      <Bytes bytes={point.bytesRead} />
    </Fact>
    <Fact name={texts.point.sent}>
      <Bytes bytes={point.bytesSent} />
    </Fact>
    <Fact name={texts.point.stored}>
      <Bytes bytes={point.bytesStored} />
    </Fact>
    <Fact name={texts.point.duration}>{durationText(point.durationMs)}</Fact>
    <Fact name={texts.point.frozen}>{frozenText(point.took)}</Fact>
    <Fact name={texts.point.scratch}>{scratchText(point.took)}</Fact>
    <Frees point={point} usages={usages} />
    {point.note === null ? null : (
      <Fact name={texts.point.note}>
        <span class="text">{point.note}</span>
      </Fact>
    )}
    <Steps point={point} />
    <Fact name={texts.point.id}>
      <code>{point.id}</code>
    </Fact>
  </dl>
)

const Disks = ({ point }: { point: Point }) => (
  <>
    <h3>{texts.point.disks}</h3>
    <ul class="disks">
      {point.disks.map(({ name, size, kind, reason, changedBytes }) => (
        <li key={name}>
          <strong class="text">{name}</strong> <Bytes bytes={size} />{' '}
          <span class="quiet">
            {words.kinds[kind]}: {words.reasons[reason]}; {texts.point.diskColumns.changed} {bytesText(changedBytes)}
          </span>
        </li>
      ))}
      {point.leftOut.map(({ name, reason }) => (
        <li key={name}>
          <Mark tone="warn">{texts.point.leftOut(name, words.leftOut[reason])}</Mark>
        </li>
      ))}
    </ul>
    {point.attachments.length + point.missingAttachments > 0 ? (
      <p class="quiet">{texts.point.attachments(point.attachments.length, point.missingAttachments)}</p>
    ) : null}
  </>
)

const LockAsk = ({ point, onClose, onChanged }: { point: Point; onClose: () => void; onChanged: () => void }) => {
  const days = useSignal(LOCK_DAYS)
  // what is done is what the dialog said, however long it was open
  const openedMs = useSignal(Date.now())
  const lock = lockOf(days.value, openedMs.value, zone.value)
  return (
    <Ask
      title={texts.point.lockTitle}
      action={texts.point.lockAction}
      kind="danger"
      onClose={onClose}
      {...(lock?.typed === undefined ? {} : { typed: lock.typed })}
      onYes={async () => {
        if (lock === null) throw new VarveError('PARAMS_INVALID', texts.point.lockWrong(LOCK_DAYS_MAX))
        await lockPoint(link, point.id, lock.untilMs)
        onChanged()
      }}
    >
      <p>{texts.point.lockSays}</p>
      <Field
        label={texts.point.lockDays}
        type="number"
        min={1}
        max={LOCK_DAYS_MAX}
        required
        value={days.value}
        onInput={(event) => (days.value = event.currentTarget.valueAsNumber)}
      />
      <p role="status">
        <strong>{lock === null ? texts.point.lockWrong(LOCK_DAYS_MAX) : texts.point.lockUntil(lock.day)}</strong>
      </p>
    </Ask>
  )
}

export interface PanelProps {
  readonly point: Point | null
  readonly machine: string
  /** Null where the person may not ask. */
  readonly keeps: Resource<Keeps> | null
  readonly usages: Usages
  readonly onChanged: () => void
}

const Actions = ({ point, machine, onChanged }: { point: Point; machine: string; onChanged: () => void }) => {
  const isLocking = useSignal(false)
  const error = useSignal<VarveError | null>(null)
  const hold = (): void => {
    error.value = null
    holdPoint(link, point.id, !point.held).then(onChanged, (thrown: unknown) => (error.value = asVarveError(thrown)))
  }
  return (
    <>
      <div class="actions">
        {link.may('restores.start') ? (
          <a class="button main" href={to('restore', [], { point: point.id })}>
            {texts.point.restore}
          </a>
        ) : null}
        <a class="button" href={to('changes', [machine], { to: point.id })}>
          {texts.point.changes}
        </a>
        {link.may('points.hold') ? (
          <Button onClick={hold}>{point.held ? texts.point.release : texts.point.hold}</Button>
        ) : null}
        {link.may('points.lock') ? <Button onClick={() => (isLocking.value = true)}>{texts.point.lock}</Button> : null}
      </div>
      {error.value === null ? null : <ErrorNote error={error.value} />}
      {isLocking.value ? (
        <LockAsk point={point} onClose={() => void (isLocking.value = false)} onChanged={onChanged} />
      ) : null}
    </>
  )
}

export const PointPanel = ({ point, machine, keeps, usages, onChanged }: PanelProps) => (
  <section class="panel point" aria-labelledby="point-title">
    {point === null ? (
      <h2 id="point-title">{texts.point.gone}</h2>
    ) : (
      <>
        <h2 id="point-title">{texts.point.title(timeText(point.timeMs, zone.value))}</h2>
        <Actions key={point.id} point={point} machine={machine} onChanged={onChanged} />
        <PointFacts point={point} keeps={keeps} usages={usages} />
        <Disks point={point} />
        {link.may('drills.list') ? <Drills key={point.id} point={point.id} /> : null}
      </>
    )}
  </section>
)
