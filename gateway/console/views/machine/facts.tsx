// What a machine is and whether it is protected; on demand, what its hypervisor says of it now.
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { link } from '../../frame/console.ts'
import { Ago, Bytes, ErrorNote, Loading, Mark } from '../../parts/basics.tsx'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { statusOf, type MachineFacts } from '../../stores/points.ts'
import { machine as texts } from '../../texts/machine.ts'
import { points as words } from '../../texts/points.ts'
import { protection } from '../../texts/protection.ts'
import { TONES } from '../protection/tones.ts'

/** A term with what it is; a long one has the whole width. */
export const Fact = ({ name, isLong, children }: { name: string; isLong?: boolean; children: ComponentChildren }) => (
  <div class={isLong === true ? 'long' : undefined}>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
)

const Status = ({ name }: { name: string }) => {
  const status = useWatched(useMade(() => statusOf(link, name), name))
  const found = status.value.value
  const error = status.error.value
  if (error !== null) return <ErrorNote error={error} onRetry={() => void status.refresh()} />
  if (found === null) return <Loading rows={2} />
  const { runState, hypervisor, problem, reachable, target, disks, leftOut } = found
  return (
    <>
      <dl class="facts">
        <Fact name={texts.statusFields.runState}>
          {reachable ? runState : <Mark tone="bad">{texts.unreachable}</Mark>}
        </Fact>
        <Fact name={texts.statusFields.hypervisor}>{hypervisor}</Fact>
        {target === null ? null : <Fact name={texts.statusFields.target}>{target}</Fact>}
        {problem === null ? null : (
          <Fact name={texts.statusFields.problem}>
            <Mark tone="bad">{problem}</Mark>
          </Fact>
        )}
        {disks.map(({ name: disk, size, format }) => (
          <Fact key={disk} name={disk}>
            <Bytes bytes={size} /> {format}
          </Fact>
        ))}
      </dl>
      {leftOut.map(({ name: disk, reason }) => (
        <p key={disk}>
          <Mark tone="warn">{texts.leftOut(disk, words.leftOut[reason])}</Mark>
        </p>
      ))}
    </>
  )
}

export const Facts = ({ facts: { machine, covered } }: { facts: MachineFacts }) => {
  const isOpen = useSignal(false)
  const { name, host, online, plan, group, exclusion } = machine
  return (
    <section class="panel" aria-labelledby="machine-name">
      <h1 id="machine-name">{name}</h1>
      {covered === null ? null : (
        <p class="verdict">
          <Mark tone={TONES[covered.state]}>
            <strong>{protection.states[covered.state]}</strong>
          </Mark>{' '}
          {covered.reason}
        </p>
      )}
      {exclusion === null ? null : (
        <p>
          <Mark tone="quiet">{texts.excluded(exclusion.reason)}</Mark>
        </p>
      )}
      <dl class="facts">
        <Fact name={texts.host}>
          <bdi>{host}</bdi> <Mark tone={online ? 'good' : 'bad'}>{online ? texts.online : texts.offline}</Mark>
        </Fact>
        <Fact name={texts.plan}>{plan ?? <Mark tone="warn">{texts.noPlan}</Mark>}</Fact>
        {group === null ? null : <Fact name={texts.group}>{group}</Fact>}
        {covered === null || covered.nextMs === null ? null : (
          <Fact name={texts.next}>
            <Ago timeMs={covered.nextMs} />
          </Fact>
        )}
      </dl>
      <details onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
        <summary>{texts.status}</summary>
        {isOpen.value ? <Status name={name} /> : null}
      </details>
    </section>
  )
}
