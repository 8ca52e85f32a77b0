"""How a model is spread over GPUs: the plan, the rank grid and its groups, the layers of a stage, what is possible.

Everything here is arithmetic on degrees; what a plan is where it is not said is `sim.default_plan`.
"""

from sim.models.flops import Recompute as Recompute
from sim.models.flops import RecomputeModule as RecomputeModule
from sim.plan.checks import check as check
from sim.plan.checks import divisors as divisors
from sim.plan.checks import layer_problems as layer_problems
from sim.plan.checks import tensor_problems as tensor_problems
from sim.plan.grid import Axis as Axis
from sim.plan.grid import group_of as group_of
from sim.plan.grid import groups as groups
from sim.plan.grid import rank as rank
from sim.plan.grid import spans as spans
from sim.plan.pipeline import has_two_models as has_two_models
from sim.plan.pipeline import homes as homes
from sim.plan.pipeline import pipeline as pipeline
from sim.plan.plan import Compression as Compression
from sim.plan.plan import ContextKind as ContextKind
from sim.plan.plan import Offload as Offload
from sim.plan.plan import Plan as Plan
from sim.plan.plan import ScheduleName as ScheduleName
from sim.plan.plan import Zero as Zero
from sim.plan.split import balanced_layers as balanced_layers
from sim.plan.split import cost_balanced_layers as cost_balanced_layers
from sim.plan.split import split_layers as split_layers
from sim.plan.split import split_note as split_note
from sim.plan.split import stage_layers as stage_layers
from sim.schedules import is_schedule_file as is_schedule_file
