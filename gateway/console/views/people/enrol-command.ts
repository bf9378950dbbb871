// The command that makes a host an agent: its configuration where there is none, the enrolment, the service. Pure.
import { shellWord } from '../../parts/shell.ts'

/** Where the gateway's own certificate is put on the host. */
const CERTIFICATE_FILE = '/etc/varve/gateway.crt'

/** The address of the gateway for agents, by the address of this page; they take neither a path nor a query. */
export const gatewayAddress = (pageUrl: string): string => {
  const { protocol, host } = new URL(pageUrl)
  return `${protocol === 'https:' ? 'wss' : 'ws'}://${host}`
}

export interface EnrolWishes {
  readonly address: string
  readonly token: string
  /** What the agent must trust, in PEM; null where the host's system trusts the gateway already. */
  readonly certificate: string | null
}

/** To be pasted into a shell of root. The token goes by standard input: no list of processes shows it. */
export const enrolCommand = ({ address, token, certificate }: EnrolWishes): string => {
  const settings = [
    `gateway = ${JSON.stringify(address)}`,
    ...(certificate === null ? [] : [`ca = "${CERTIFICATE_FILE}"`]),
  ]
  return [
    'install -d /etc/varve',
    ...(certificate === null ? [] : [`cat > ${CERTIFICATE_FILE} <<'EOF'`, certificate.trim(), 'EOF']),
    "test -e /etc/varve/agent.toml || cat > /etc/varve/agent.toml <<'EOF'",
    ...settings,
    '[discover]',
    'libvirt = "qemu:///system"',
    'EOF',
    `varve-agent enrol --gateway ${shellWord(address)} --token - <<'EOF' && systemctl enable --now varve-agent`,
    token,
    'EOF',
    '',
  ].join('\n')
}
