// Resources of other people's kinds in, as JSON on standard input; out, as JSON, what their schemas object to, one text a problem.
import { readFileSync } from "node:fs";
import { unknownFieldsOf } from "./fields.mjs";

const PACKAGES = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};

const problems = [];
const known = []; // [resource, module of its kind, its name in problems]
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${resource.kind} ${resource.metadata?.name}`;
  const [group, version] = resource.apiVersion.split("/");
  if (!(group in PACKAGES)) {
    problems.push(`${name}: no schema of ${resource.apiVersion}`);
    continue;
  }
  const module = `@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${resource.kind}`;
  try {
    const found = await import(module);
    known.push([resource, module, name]);
    new found[resource.kind](resource).validate();
  } catch (error) {
    problems.push(`${name}: ${error.message}`);
  }
}

const unknownFields = unknownFieldsOf([...new Set(known.map(([, module]) => module))]);
for (const [resource, module, name] of known)
  for (const field of unknownFields(resource, module)) problems.push(`${name}: ${field} is no field of it`);
process.stdout.write(JSON.stringify(problems));
