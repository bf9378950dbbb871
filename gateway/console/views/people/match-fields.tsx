// The fields of a simple match: how bad, and which machines.
import type { Signal } from '@preact/signals'
import { SEVERITIES, type Severity } from '../../../../protocol/events.ts'
import { Field, Select } from '../../parts/basics.tsx'
import { notifications as texts } from '../../texts/notifications.ts'

export const MatchFields = ({ severity, machines }: { severity: Signal<Severity>; machines: Signal<string> }) => (
  <>
    <Select
      label={texts.severity}
      value={severity.value}
      choices={SEVERITIES.map((value) => ({ value, text: texts.severities[value] }))}
      onChoose={(value) => (severity.value = value as Severity)}
    />
    <Field
      label={texts.patterns}
      hint={texts.patternsHint}
      value={machines.value}
      autocomplete="off"
      onInput={(event) => (machines.value = event.currentTarget.value)}
    />
  </>
)
