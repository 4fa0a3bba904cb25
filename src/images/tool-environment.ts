/**
 * What programs that reach the network may know of our environment: proxies, certificates, and where registry logins are
 * kept. All else stays here.
 */
const passed = [
  'HOME',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'XDG_RUNTIME_DIR',
  'XDG_CONFIG_HOME',
  'REGISTRY_AUTH_FILE',
  'DOCKER_CONFIG',
  'APT_CONFIG',
] as const;

/** The environment for such a program; `tmpDir` is where it puts what it does not keep. */
export function networkEnvironment(tmpDir: string, env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const picked = passed.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]));
  return { ...Object.fromEntries(picked), TMPDIR: tmpDir };
}
