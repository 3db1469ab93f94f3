// A resource and the module of its kind in, the paths of fields that its type does not have out: the schemas let them pass, a cluster drops them.
import { fileURLToPath } from "node:url";
import ts from "typescript";

const HERE = fileURLToPath(new URL("kinds.ts", import.meta.url)); // a file that only the compiler sees
const OPTIONS = { lib: ["lib.es5.d.ts"], module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, strict: true, types: [] };

/** What asks for fields without a type: one compiler for the kinds of all these modules. */
export function unknownFieldsOf(modules) {
  const source = modules.map((module, i) => `export declare const kind${i}: import("${module}").I${module.split("/").at(-1)};`).join("\n");
  const host = ts.createCompilerHost(OPTIONS);
  const read = host.getSourceFile;
  host.getSourceFile = (name, version) => (name === HERE ? ts.createSourceFile(name, source, version) : read(name, version));
  const program = ts.createProgram([HERE], OPTIONS, host);
  const checker = program.getTypeChecker();
  const symbols = modules.length ? checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(HERE))) : [];
  const types = new Map(modules.map((module, i) => [module, checker.getTypeOfSymbol(symbols[i])]));
  for (const [module, type] of types) if (type.flags & ts.TypeFlags.Any) throw new Error(`${module} declares no type`);
  return (resource, module) => walk(resource, types.get(module), "", checker);
}

function walk(value, type, path, checker) {
  if (value === null || typeof value !== "object") return [];
  const forms = (type.isUnion() ? type.types : [type]).filter((one) => !(one.flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Null)));
  if (forms.some((one) => one.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown))) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const place = path ? `${path}.${key}` : key;
    const types = forms.map((one) => typeOf(one, key, Array.isArray(value), checker)).filter(Boolean);
    if (types.length === 0) return [place];
    // Of several forms, the one that fits best.
    return types.map((one) => walk(inner, one, place, checker)).sort((a, b) => a.length - b.length)[0];
  });
}

function typeOf(type, key, inArray, checker) {
  if (inArray) return checker.getIndexTypeOfType(type, ts.IndexKind.Number);
  const property = checker.getPropertyOfType(type, key);
  return property ? checker.getTypeOfSymbol(property) : checker.getIndexTypeOfType(type, ts.IndexKind.String);
}
