// Reads {schema, instances} from the standard input, and answers of each instance whether it is valid.
import Ajv from "ajv/dist/2020.js";
import { readFileSync } from "node:fs";

const { schema, instances } = JSON.parse(readFileSync(0, "utf8"));
// Formats such as `uint32` are annotations; `strict` would refuse them.
const validate = new Ajv.default({ strict: false, validateFormats: false }).compile(schema);
console.log(JSON.stringify(instances.map((instance) => validate(instance))));
