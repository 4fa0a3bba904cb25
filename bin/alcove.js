#!/usr/bin/env -S node --max-semi-space-size=2
// Output passes through in chunks that die young: a small young generation keeps a run of gigabytes under 110 MB, where
// V8's default lets 160 MB come together.
// Starts the CLI. This file must run on Nodes that are too old for the rest, to be able to say so: no syntax and no module
// younger than Node 14.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

const oldest = [22, 15];
const failed = 125;

start();

function start() {
  const main = here('../dist/bundle/main.js');
  if (!existsSync(main)) {
    fail(`it has not been built: ${main} is not there`, 'npm run build');
  } else if (isRecent(process.versions.node)) {
    silenceExperimentalWarnings();
    keepCompiledCode();
    import(pathToFileURL(main).href).catch((error) => {
      fail(String(error.message), 'npm run build');
    });
  } else {
    const node = bundledNode();
    if (node) runWith(node);
    else
      fail(`Node ${process.versions.node} is too old; it needs ${oldest.join('.')} or newer`, 'npm install');
  }
}

/** The Node that `npm install` brings into a clone, where it is there and recent. */
function bundledNode() {
  const program = here('../node_modules/node/bin/node');
  try {
    const { version } = JSON.parse(readFileSync(here('../node_modules/node/package.json'), 'utf8'));
    return isRecent(version) && realpathSync(program) !== realpathSync(process.execPath)
      ? program
      : undefined;
  } catch (_) {
    return undefined; // There is none.
  }
}

/** Runs this file again with another Node, which has the terminal, the signals and the last word on the exit. */
function runWith(node) {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'];
  // Before the other starts: a signal that came between would end this one and leave the other alone.
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  const child = spawn(
    node,
    ['--max-semi-space-size=2', fileURLToPath(import.meta.url)].concat(process.argv.slice(2)),
    {
      stdio: 'inherit',
    },
  );
  child.on('error', (error) => fail(`cannot start ${node}: ${error.message}`, 'npm install'));
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function isRecent(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > oldest[0] || (major === oldest[0] && minor >= oldest[1]);
}

/** What is used knowingly warns that it is experimental; nothing else is kept back. */
function silenceExperimentalWarnings() {
  const emitWarning = process.emitWarning;
  process.emitWarning = (warning, ...rest) => {
    const type = typeof rest[0] === 'object' && rest[0] !== null ? rest[0].type : rest[0];
    if (
      type === 'ExperimentalWarning' &&
      /^(SQLite|Type Stripping|stripTypeScriptTypes) /.test(String(warning))
    )
      return;
    emitWarning.call(process, warning, ...rest);
  };
}

/** Compiled code is kept between runs: the next one starts some 50 ms sooner. Where it cannot be kept, nothing is lost. */
function keepCompiledCode() {
  const { XDG_CACHE_HOME, HOME } = process.env;
  const cache = XDG_CACHE_HOME || (HOME && `${HOME}/.cache`);
  if (cache && nodeModule.enableCompileCache) nodeModule.enableCompileCache(`${cache}/alcove`);
}

function here(path) {
  return fileURLToPath(new URL(path, import.meta.url));
}

function fail(message, command) {
  process.stderr.write(`alcove: ${message}\n  ${command}\n`);
  process.exitCode = failed;
}
