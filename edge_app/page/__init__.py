"""The operator's page: verdict, heat map, earlier parts that were wrong in the same way, and two buttons."""
